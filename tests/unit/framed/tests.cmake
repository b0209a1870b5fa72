# postern_unit_test(framed MODULE ...), one a line.

add_library(framed_client STATIC "${PROJECT_SOURCE_DIR}/tests/lib/framed_client.c")
target_link_libraries(framed_client PUBLIC postern_session PRIVATE postern_options cmocka)

add_library(io_bench STATIC framed/io_bench.c)
target_link_libraries(io_bench PUBLIC loopback framed_client PRIVATE postern_framed postern_options cmocka)

postern_unit_test(framed channel_stream USES io_bench)
postern_unit_test(framed passing USES io_bench)
postern_unit_test(framed session_io USES io_bench
  LINK_OPTIONS -Wl,--wrap=send,--wrap=recv,--wrap=getrandom)
postern_unit_test(framed faults FAULTS USES io_bench LINK_OPTIONS -Wl,--wrap=epoll_ctl)
