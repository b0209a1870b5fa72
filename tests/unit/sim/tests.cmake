# postern_unit_test(sim MODULE ...), one a line. What it is from outside: tests/system/test_sim*.py.
postern_unit_test(sim bytes FAULTS)
postern_unit_test(sim cms FAULTS DEFINITIONS SHARED_DATA="${PROJECT_SOURCE_DIR}/../shared/data")
postern_unit_test(sim blob FAULTS)
postern_unit_test(sim nsm FAULTS DEFINITIONS SHARED_DATA="${PROJECT_SOURCE_DIR}/../shared/data")
postern_unit_test(sim fault)
postern_unit_test(sim signature)
postern_unit_test(sim key FAULTS)
postern_unit_test(sim config FAULTS)
