# postern_unit_test(framed MODULE ...), one a line.

add_library(framed_client STATIC "${PROJECT_SOURCE_DIR}/tests/lib/framed_client.c")
target_link_libraries(framed_client PUBLIC postern_session PRIVATE postern_options cmocka)

postern_unit_test(framed session_io USES loopback framed_client)
