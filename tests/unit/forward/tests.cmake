# postern_unit_test(forward MODULE ...), one a line.

add_library(exchange_bench STATIC forward/exchange_bench.c)
target_link_libraries(exchange_bench PUBLIC loopback OpenSSL::SSL PRIVATE postern_forward postern_options cmocka)
postern_unit_test(forward exchange USES exchange_bench LINK_OPTIONS -Wl,--wrap=send)
postern_unit_test(forward exchange_kept USES exchange_bench LINK_OPTIONS -Wl,--wrap=send)
postern_unit_test(forward body_memory)
postern_unit_test(forward exchange_signed USES exchange_bench LINK_OPTIONS -Wl,--wrap=signing_start)
postern_unit_test(forward upstream USES exchange_bench LINK_OPTIONS -Wl,--wrap=resolve_start,--wrap=connect,--wrap=epoll_ctl)
postern_unit_test(forward exchange_splice USES exchange_bench)

add_library(endpoint STATIC forward/endpoint.c)
target_link_libraries(endpoint PUBLIC loopback PRIVATE postern_net postern_options cmocka)
target_include_directories(endpoint PUBLIC forward)
postern_unit_test(forward fetch FAULTS USES endpoint LINK_OPTIONS -Wl,--wrap=realloc)
postern_unit_test(forward signing FAULTS USES endpoint LINK_OPTIONS -Wl,--wrap=log_end)
add_library(credentials_bench STATIC forward/credentials_bench.c)
target_link_libraries(credentials_bench PUBLIC endpoint PRIVATE postern_forward postern_options cmocka)
postern_unit_test(forward credentials FAULTS USES credentials_bench LINK_OPTIONS -Wl,--wrap=credentials_now_ms)
postern_unit_test(forward credentials_places FAULTS USES credentials_bench LINK_OPTIONS -Wl,--wrap=credentials_now_ms)

postern_unit_test(forward exchange_tls_files USES exchange_bench certificates)
postern_unit_test(forward exchange_tls USES exchange_bench certificates LINK_OPTIONS -Wl,--wrap=time,--wrap=recv,--wrap=send)
postern_unit_test(forward exchange_faults FAULTS USES exchange_bench certificates DEFINITIONS ${is_sanitized})

# What is kept, and delivered later.
postern_unit_test(forward verdict)
postern_unit_test(forward throttle)
postern_unit_test(forward intake USES spool_bench)
postern_unit_test(forward delivery USES spool_bench)
postern_unit_test(forward spool_faults FAULTS USES spool_bench)

# What enclaves send.
postern_unit_test(forward ids LINK_OPTIONS -Wl,--wrap=getrandom)
postern_unit_test(forward forward_stream FAULTS USES exchange_bench)
target_sources(test_forward_forward_stream PRIVATE forward/stream_bench.c)

# Tunnels, and requests through the same proxy.
postern_unit_test(forward proxy)
postern_unit_test(forward proxy_stream FAULTS USES exchange_bench)
target_sources(test_forward_proxy_stream PRIVATE forward/stream_bench.c)
postern_unit_test(forward connect FAULTS USES loopback hello_maker LINK_OPTIONS -Wl,--wrap=resolve_start)
target_include_directories(test_forward_connect PRIVATE relay)
