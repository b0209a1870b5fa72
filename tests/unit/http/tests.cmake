# postern_unit_test(http MODULE ...), one a line.
postern_unit_test(http message LINK_OPTIONS -Wl,--wrap=realloc)
postern_unit_test(http server)
postern_unit_test(http server_later)
postern_unit_test(http faults FAULTS)

# The forwarder without sockets, for tests and fuzz targets.
add_library(http_forward STATIC http/forward.c http/table.c)
target_link_libraries(http_forward PUBLIC postern_http PRIVATE postern_options cmocka)
target_include_directories(http_forward PUBLIC http)

postern_unit_test(http syntax)
postern_unit_test(http request FAULTS USES http_forward)
postern_unit_test(http response FAULTS USES http_forward)
postern_unit_test(http refusal FAULTS)
postern_unit_test(http template FAULTS)
postern_unit_test(http header_rules FAULTS)
postern_unit_test(http policy FAULTS)
postern_unit_test(http fields)
postern_unit_test(http values FAULTS LINK_OPTIONS -Wl,--wrap=realloc,--wrap=free)
postern_unit_test(http opinion)

# What the forwarder does with requests: the program that tests/smuggling asks.
add_executable(judge_requests http/judge_requests.c)
target_link_libraries(judge_requests PRIVATE http_forward postern_options)
set_target_properties(judge_requests PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
