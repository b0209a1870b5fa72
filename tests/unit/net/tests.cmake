# postern_unit_test(net MODULE ...), one a line.
postern_unit_test(net addr)
postern_unit_test(net addr_format)
postern_unit_test(net guard)
postern_unit_test(net avoid)

add_library(postern_dns_fake STATIC "${PROJECT_SOURCE_DIR}/tests/lib/dns_fake.c")
target_link_libraries(postern_dns_fake PUBLIC postern_base PkgConfig::UV PRIVATE postern_options)
postern_unit_test(net resolve USES postern_dns_fake)
postern_unit_test(net resolve_cache USES postern_dns_fake)
postern_unit_test(net resolve_life FAULTS USES postern_dns_fake)
postern_unit_test(net resolve_join FAULTS USES postern_dns_fake)

add_library(loopback STATIC "${PROJECT_SOURCE_DIR}/tests/lib/loopback.c")
target_link_libraries(loopback PRIVATE postern_net postern_options cmocka)
postern_unit_test(net poller FAULTS USES loopback
  LINK_OPTIONS -Wl,--wrap=epoll_ctl,--wrap=uv_poll_init,--wrap=uv_poll_start)
postern_unit_test(net poller_room USES loopback)
foreach(module poller poller_room)
  target_sources(test_net_${module} PRIVATE net/poller_bench.c)
endforeach()
postern_unit_test(net loop FAULTS USES loopback LINK_OPTIONS -Wl,--wrap=uv_loop_init,--wrap=uv_poll_start)
postern_unit_test(net pipe_pool FAULTS LINK_OPTIONS -Wl,--wrap=fcntl)

# Names without a name server.
add_library(played_resolver OBJECT "${PROJECT_SOURCE_DIR}/tests/lib/played_resolver.c")
target_link_libraries(played_resolver PRIVATE postern_options cmocka)
target_link_options(played_resolver INTERFACE -Wl,--wrap=getaddrinfo,--wrap=freeaddrinfo)
postern_unit_test(net attempt USES played_resolver loopback LINK_OPTIONS -Wl,--wrap=connect)

postern_unit_test(net hybrid USES loopback LINK_OPTIONS -Wl,--wrap=send,--wrap=recv)
# AF_VSOCK is played: opened for real only in the virtual machine.
postern_unit_test(net sock FAULTS USES loopback
  LINK_OPTIONS -Wl,--wrap=socket,--wrap=bind,--wrap=connect,--wrap=setsockopt)
postern_unit_test(net stream FAULTS USES loopback LINK_OPTIONS -Wl,--wrap=send,--wrap=recv)
postern_unit_test(net listener FAULTS USES loopback LINK_OPTIONS -Wl,--wrap=accept4,--wrap=epoll_ctl)

add_library(dial_bench STATIC net/dial_bench.c)
target_link_libraries(dial_bench PUBLIC loopback PRIVATE postern_net postern_options cmocka)
target_link_options(dial_bench INTERFACE
  -Wl,--wrap=socket,--wrap=connect,--wrap=epoll_ctl,--wrap=resolve_start,--wrap=resolve_cancel)
postern_unit_test(net dial FAULTS USES dial_bench)
postern_unit_test(net dial_race FAULTS USES dial_bench)
postern_unit_test(net dial_hybrid FAULTS USES dial_bench)
postern_unit_test(net dial_faults FAULTS USES dial_bench)

add_library(certificates STATIC "${PROJECT_SOURCE_DIR}/tests/lib/certificates.c")
target_link_libraries(certificates PUBLIC OpenSSL::SSL PRIVATE postern_options)
postern_unit_test(net tls_system FAULTS USES certificates LINK_OPTIONS -Wl,--wrap=clock_gettime)
