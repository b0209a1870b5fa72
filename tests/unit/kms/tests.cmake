# postern_unit_test(kms MODULE ...), one a line.
postern_unit_test(kms secret FAULTS LINK_OPTIONS -Wl,--wrap=mmap,--wrap=munmap,--wrap=madvise)

# KMS and an NSM in a child process, which do as they are told. They need what the tests of other folders make.
if(TARGET attest_envelope AND TARGET certificates)
  add_library(fake_kms STATIC "${CMAKE_CURRENT_LIST_DIR}/fake_kms.c")
  target_link_libraries(fake_kms PUBLIC postern_kms certificates attest_envelope PRIVATE postern_options)
  target_include_directories(fake_kms PUBLIC "${CMAKE_CURRENT_LIST_DIR}")
  postern_unit_test(kms kms USES fake_kms)
endif()
