# postern_unit_test(cli MODULE ...), one a line.
add_library(run_cli STATIC cli/run_cli.c)
target_link_libraries(run_cli PUBLIC postern_cli PRIVATE postern_options cmocka)
target_include_directories(run_cli PUBLIC cli)

postern_unit_test(cli loop FAULTS)
postern_unit_test(cli tunnel FAULTS)
postern_unit_test(cli door FAULTS)
postern_unit_test(cli notes)
postern_unit_test(cli why)
postern_unit_test(cli problem)
postern_unit_test(cli progress LINK_OPTIONS -lutil)
postern_unit_test(cli stdio_end FAULTS USES util)
postern_unit_test(cli cli FAULTS USES run_cli DEFINITIONS PROJECT_DIR="${PROJECT_SOURCE_DIR}")

# A daemon on the loop of what is tested.
add_library(cli_far STATIC cli/far.c)
target_link_libraries(cli_far PUBLIC postern_cli PRIVATE postern_options cmocka)
target_include_directories(cli_far PUBLIC cli)
foreach(module service service_life)
  postern_unit_test(cli ${module} FAULTS USES cli_far)
  target_sources(test_cli_${module} PRIVATE cli/service_bench.c)
endforeach()
postern_unit_test(cli link FAULTS USES cli_far)
postern_unit_test(cli commands FAULTS USES cli_far run_cli)

# postern run, with a daemon on its loop.
add_library(cli_run_bench STATIC cli/run_bench.c)
target_link_libraries(cli_run_bench PUBLIC cli_far PRIVATE postern_options cmocka)
postern_unit_test(cli run_log FAULTS USES cli_run_bench)
postern_unit_test(cli run_clock FAULTS USES cli_run_bench LINK_OPTIONS
  -Wl,--wrap=clock_settime,--wrap=adjtime,--wrap=clock_read_ptp,--wrap=clock_read_nsm)
postern_unit_test(cli run_boot LINK_OPTIONS
  -Wl,--wrap=getpid,--wrap=mounts_make,--wrap=machine_is_ours,--wrap=machine_load_module,--wrap=machine_heartbeat
  -Wl,--wrap=nsm_open,--wrap=entropy_seed,--wrap=loopback_up)
postern_unit_test(cli run FAULTS USES run_cli LINK_OPTIONS -Wl,--wrap=reboot)

# Calls to KMS.
if(TARGET postern_kms)
  postern_unit_test(cli out_file FAULTS)
  postern_unit_test(cli kms FAULTS USES run_cli LINK_OPTIONS -lutil DEFINITIONS CORPUS="${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/sealed")
  postern_unit_test(cli kmstool)
  postern_unit_test(cli json_memory LINK_OPTIONS -Wl,--wrap=malloc,--wrap=free)
  postern_unit_test(cli secrecy)
  postern_unit_test(cli kms_proxy FAULTS USES run_cli LINK_OPTIONS
    -Wl,--wrap=postern_kms_open,--wrap=postern_kms_close,--wrap=kms_attested_prepare,--wrap=kms_proxy_serve)
endif()
if(TARGET attest_maker)
  postern_unit_test(cli attest FAULTS USES run_cli attest_maker LINK_OPTIONS -Wl,--wrap=nsm_open -lutil)
endif()
