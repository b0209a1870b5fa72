# postern_unit_test(client MODULE ...), one a line.

# A daemon that does as it is told, made of the session core.
add_library(client_server OBJECT client/server.c)
target_link_libraries(client_server PRIVATE postern_client postern_options cmocka)

postern_unit_test(client pollable FAULTS USES client_server)
postern_unit_test(client threads FAULTS USES client_server)
