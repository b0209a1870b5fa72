# postern_unit_test(net MODULE ...), one a line.
postern_unit_test(net addr)
postern_unit_test(net addr_format)
postern_unit_test(net guard)

add_library(postern_dns_fake STATIC "${PROJECT_SOURCE_DIR}/tests/lib/dns_fake.c")
target_link_libraries(postern_dns_fake PUBLIC postern_base PkgConfig::UV PRIVATE postern_options)
postern_unit_test(net resolve USES postern_dns_fake)
postern_unit_test(net resolve_cache USES postern_dns_fake)
postern_unit_test(net resolve_life FAULTS USES postern_dns_fake)
