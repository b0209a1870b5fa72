# postern_unit_test(spool MODULE ...), one a line.
add_library(spool_bench STATIC spool/spool_bench.c)
target_link_libraries(spool_bench PUBLIC postern_spool PRIVATE postern_options cmocka)
target_include_directories(spool_bench PUBLIC spool)

# A sanitizer's own memory is none of the spool's, and its time has to be made up for.
if(POSTERN_SANITIZE)
  set(is_sanitized POSTERN_SANITIZED)
endif()

postern_unit_test(spool backoff)
postern_unit_test(spool failure)
postern_unit_test(spool queue USES spool_bench)
postern_unit_test(spool queue_ends USES spool_bench)
postern_unit_test(spool turns USES spool_bench)
postern_unit_test(spool place FAULTS USES spool_bench)
postern_unit_test(spool damage USES spool_bench)
postern_unit_test(spool operators USES spool_bench)
postern_unit_test(spool mend USES spool_bench PkgConfig::SQLITE)
postern_unit_test(spool verify USES spool_bench)

# On a disk that fails (scorecard R8).
if(POSTERN_SANITIZE OR POSTERN_COVERAGE)
  set(crash_points 250) # they make it slow
else()
  set(crash_points 1000)
endif()
foreach(module crash disk)
  postern_unit_test(spool ${module} USES spool_bench PkgConfig::SQLITE DEFINITIONS POINTS=${crash_points}
    LINK_OPTIONS -Wl,--wrap=fsync)
  target_sources(test_spool_${module} PRIVATE "${PROJECT_SOURCE_DIR}/tests/lib/lossy_vfs.c")
endforeach()

# With its threads, and killed.
add_library(spool_client STATIC spool/spool_client.c)
target_link_libraries(spool_client PUBLIC postern_spool PRIVATE postern_options)
postern_unit_test(spool threads USES spool_client spool_bench)
postern_unit_test(spool kill USES spool_client spool_bench)

# With calls that fail, and with much to do.
postern_unit_test(spool faults FAULTS USES spool_bench DEFINITIONS ${is_sanitized})
postern_unit_test(spool backlog USES spool_bench PkgConfig::SQLITE DEFINITIONS ${is_sanitized})
