# postern_unit_test(relay MODULE ...), one a line.

# Makes ClientHellos; hello_judge holds them up to OpenSSL's reading (scorecard R2).
add_library(hello_maker STATIC relay/hello_maker.c)
target_link_libraries(hello_maker PRIVATE postern_options)

postern_unit_test(relay hello FAULTS USES hello_maker LINK_OPTIONS -Wl,--wrap=realloc)
postern_unit_test(relay hello_judge USES hello_maker OpenSSL::SSL)
target_sources(test_relay_hello_judge PRIVATE relay/judge.c relay/clients.c)

add_library(script_stream STATIC "${PROJECT_SOURCE_DIR}/tests/lib/script_stream.c")
target_link_libraries(script_stream PRIVATE postern_net postern_options cmocka)
postern_unit_test(relay flow FAULTS USES script_stream)
postern_unit_test(relay flow_lent USES script_stream)

add_library(relay_bench STATIC relay/relay_bench.c)
target_link_libraries(relay_bench PUBLIC loopback PRIVATE postern_relay postern_options cmocka)
postern_unit_test(relay relay USES relay_bench)
postern_unit_test(relay opening FAULTS USES relay_bench hello_maker LINK_OPTIONS -Wl,--wrap=resolve_start)
postern_unit_test(relay relay_faults FAULTS USES relay_bench LINK_OPTIONS -Wl,--wrap=epoll_ctl)

add_library(channel_bench STATIC relay/channel_bench.c)
target_link_libraries(channel_bench PUBLIC loopback framed_client PRIVATE postern_relay postern_options cmocka)
postern_unit_test(relay channel USES channel_bench hello_maker)
postern_unit_test(relay channel_faults FAULTS USES channel_bench LINK_OPTIONS -Wl,--wrap=epoll_ctl)
