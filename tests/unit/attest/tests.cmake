# postern_unit_test(attest MODULE ...), one a line.
add_library(attest_maker STATIC "${CMAKE_CURRENT_LIST_DIR}/maker.c")
target_link_libraries(attest_maker PUBLIC postern_attest postern_sim_documents cmocka PRIVATE postern_options)
target_include_directories(attest_maker PUBLIC "${CMAKE_CURRENT_LIST_DIR}")
postern_unit_test(attest document USES attest_maker)
postern_unit_test(attest verify USES attest_maker FAULTS)
postern_unit_test(attest genuine DEFINITIONS SHARED_DATA="${PROJECT_SOURCE_DIR}/../shared/data")
add_library(attest_envelope STATIC "${CMAKE_CURRENT_LIST_DIR}/envelope.c")
target_link_libraries(attest_envelope PUBLIC postern_attest cmocka PRIVATE postern_options)
target_include_directories(attest_envelope PUBLIC "${CMAKE_CURRENT_LIST_DIR}")
postern_unit_test(attest recipient FAULTS USES attest_envelope DEFINITIONS SHARED_DATA="${PROJECT_SOURCE_DIR}/../shared/data")
postern_unit_test(attest recipient_shapes USES attest_envelope)
# The recipient's key is the vectors' own.
postern_unit_test(attest wycheproof USES attest_envelope PkgConfig::JANSSON LINK_OPTIONS -Wl,--wrap=EVP_PKEY_Q_keygen
  DEFINITIONS SHARED_DATA="${PROJECT_SOURCE_DIR}/../shared/data")
postern_unit_test(attest eif FAULTS USES attest_maker ZLIB::ZLIB)
