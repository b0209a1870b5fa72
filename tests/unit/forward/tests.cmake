# postern_unit_test(forward MODULE ...), one a line.
postern_unit_test(forward signing FAULTS USES loopback)

add_library(exchange_bench STATIC forward/exchange_bench.c)
target_link_libraries(exchange_bench PUBLIC loopback OpenSSL::SSL PRIVATE postern_forward postern_options cmocka)
postern_unit_test(forward exchange USES exchange_bench)
