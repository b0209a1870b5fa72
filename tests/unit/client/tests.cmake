# postern_unit_test(client MODULE ...), one a line.

# A daemon that does as it is told, made of the session core.
add_library(client_server OBJECT client/server.c client/server_routes.c)
target_link_libraries(client_server PRIVATE postern_client postern_options cmocka)

if(POSTERN_COVERAGE)
  target_compile_definitions(client_server PRIVATE COVERAGE)
endif()

foreach(module pollable pollable_life pollable_child pollable_news request_pollable)
  postern_unit_test(client ${module} FAULTS USES client_server)
  target_sources(test_client_${module} PRIVATE client/door.c client/pollable.c)
endforeach()
foreach(module threads threads_crowd reading request)
  postern_unit_test(client ${module} FAULTS USES client_server)
  target_sources(test_client_${module} PRIVATE client/door.c client/threads_bench.c)
endforeach()
postern_unit_test(client faults FAULTS USES client_server LINK_OPTIONS -Wl,--wrap=sendmsg)
foreach(module connection connection_waits)
  postern_unit_test(client ${module} FAULTS USES client_server played_resolver loopback postern_net
    LINK_OPTIONS -Wl,--wrap=socket,--wrap=connect,--wrap=setsockopt,--wrap=sendmsg,--wrap=recv,--wrap=getrandom)
  target_sources(test_client_${module} PRIVATE client/connection_bench.c)
endforeach()
postern_unit_test(client nsm FAULTS LINK_OPTIONS -Wl,--wrap=ioctl)
postern_unit_test(client owner FAULTS LINK_OPTIONS -Wl,--wrap=mmap,--wrap=madvise)
