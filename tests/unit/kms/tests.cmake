# postern_unit_test(kms MODULE ...), one a line.
postern_unit_test(kms secret FAULTS LINK_OPTIONS -Wl,--wrap=mmap,--wrap=munmap,--wrap=madvise)
postern_unit_test(kms shape)
postern_unit_test(kms credentials FAULTS LINK_OPTIONS -Wl,--wrap=credentials_now_ms)

# KMS and an NSM in a child process, which do as they are told. They need what the tests of other folders make.
if(TARGET attest_envelope AND TARGET certificates)
  add_library(fake_kms STATIC "${CMAKE_CURRENT_LIST_DIR}/fake_kms.c")
  target_link_libraries(fake_kms PUBLIC postern_kms certificates attest_envelope PRIVATE postern_options)
  target_include_directories(fake_kms PUBLIC "${CMAKE_CURRENT_LIST_DIR}")
  postern_unit_test(kms kms USES fake_kms)
  postern_unit_test(kms kms_faults FAULTS USES fake_kms LINK_OPTIONS -Wl,--wrap=mmap)
  postern_unit_test(kms bad_days USES fake_kms LINK_OPTIONS -Wl,--wrap=getaddrinfo,--wrap=freeaddrinfo)
  postern_unit_test(kms wiped USES fake_kms LINK_OPTIONS -Wl,--wrap=free,--wrap=realloc,--wrap=malloc)
  postern_unit_test(kms tls USES fake_kms LINK_OPTIONS -Wl,--wrap=clock_gettime)
  postern_unit_test(kms attested USES fake_kms LINK_OPTIONS -Wl,--wrap=clock_gettime)
endif()

# The proxy, with a KMS that answers as it is told to.
add_library(kms_scripted STATIC kms/scripted_kms.c)
target_link_libraries(kms_scripted PUBLIC postern_kms_proxy PRIVATE postern_options cmocka)
target_include_directories(kms_scripted PUBLIC kms)
foreach(module proxy proxy_serve)
  postern_unit_test(kms ${module} FAULTS USES kms_scripted LINK_OPTIONS
    -Wl,--wrap=kms_call,--wrap=kms_attested_call,--wrap=kms_deadline,--wrap=secret_new,--wrap=postern_secret_wipe)
endforeach()

# Sealed files, and what docs/sealed.md says.
add_library(kms_sealed STATIC kms/sealed.c session/document.c)
target_link_libraries(kms_sealed PUBLIC postern_kms PRIVATE postern_options cmocka)
target_include_directories(kms_sealed PUBLIC kms session)
target_compile_definitions(kms_sealed PRIVATE PROTOCOL_DOCUMENT="${PROJECT_SOURCE_DIR}/docs/sealed.md")
postern_unit_test(kms seal USES kms_sealed FAULTS LINK_OPTIONS -Wl,--wrap=EVP_CipherUpdate)
postern_unit_test(kms seal_header USES kms_sealed)
postern_unit_test(kms base64)
postern_unit_test(kms seal_kms FAULTS USES kms_sealed kms_scripted LINK_OPTIONS
  -Wl,--wrap=kms_call,--wrap=kms_attested_call,--wrap=kms_deadline,--wrap=secret_new,--wrap=postern_secret_wipe)

# The documents of the tests of src/attest.
if(TARGET attest_maker)
  postern_unit_test(kms verify USES attest_maker)
endif()
