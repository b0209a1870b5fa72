# postern_unit_test(daemon MODULE ...), one a line.
postern_unit_test(daemon counters LINK_OPTIONS -Wl,--wrap=calloc)
postern_unit_test(daemon metrics)
postern_unit_test(daemon status)
postern_unit_test(daemon admin)
postern_unit_test(daemon pages_faults FAULTS)
postern_unit_test(daemon operations USES postern_ctl DEFINITIONS PROJECT_DIR="${PROJECT_SOURCE_DIR}")
postern_unit_test(daemon vsock_args)
postern_unit_test(daemon vsock_proxy_names LINK_OPTIONS -Wl,--wrap=getaddrinfo -Wl,--wrap=freeaddrinfo)
postern_unit_test(daemon vsock_proxy FAULTS
  LINK_OPTIONS -Wl,--wrap=server_run -Wl,--wrap=getaddrinfo -Wl,--wrap=freeaddrinfo)

add_library(daemon_bench STATIC daemon/daemon_bench.c)
target_link_libraries(daemon_bench PUBLIC loopback PRIVATE postern_daemon postern_options cmocka)
postern_unit_test(daemon workers FAULTS USES daemon_bench
  LINK_OPTIONS -Wl,--wrap=uv_loop_init,--wrap=uv_async_init,--wrap=uv_mutex_init,--wrap=uv_async_send)
add_library(one_worker STATIC daemon/one_worker.c)
target_link_libraries(one_worker PUBLIC daemon_bench postern_daemon PRIVATE postern_options cmocka)
postern_unit_test(daemon admission FAULTS USES one_worker)
add_library(session_callers STATIC daemon/session_callers.c)
target_link_libraries(session_callers PUBLIC one_worker framed_client PRIVATE postern_options cmocka)
postern_unit_test(daemon sessions FAULTS USES session_callers)
postern_unit_test(daemon sessions_reload FAULTS USES session_callers)
postern_unit_test(daemon log_stream FAULTS USES loopback framed_client)
postern_unit_test(daemon time_stream FAULTS USES loopback)
postern_unit_test(daemon rules FAULTS USES daemon_bench)
postern_unit_test(daemon sockets FAULTS USES daemon_bench)
if(SYSTEMD_FOUND)
  postern_unit_test(daemon notify FAULTS USES loopback)
endif()

# With the calls that fail as FAULT_OWN, and the one that tells the bench where the server is.
add_library(server_bench STATIC daemon/server_bench.c)
target_link_libraries(server_bench PUBLIC daemon_bench PRIVATE postern_daemon postern_options cmocka)
target_link_options(server_bench INTERFACE
  -Wl,--wrap=uv_loop_init,--wrap=uv_async_init,--wrap=uv_mutex_init,--wrap=uv_signal_start,--wrap=worker_set_start)
postern_unit_test(daemon server FAULTS USES server_bench)
postern_unit_test(daemon reload FAULTS USES server_bench)
postern_unit_test(daemon server_faults FAULTS USES server_bench)
