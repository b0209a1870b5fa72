# What `cmake --install` puts where for those who build against libpostern; alone with `--component client`. The prefix may be
# one that is told only then.
if(NOT TARGET libpostern)
  return()
endif()
include(CMakePackageConfigHelpers)
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/postern")
set(package_files "${CMAKE_BINARY_DIR}/package")

install(TARGETS libpostern LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT client)
install(FILES "${CMAKE_BINARY_DIR}/lib/libpostern.a" DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT client)
install(FILES include/postern/attest.h include/postern/postern.h DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/postern" COMPONENT client)

# Where llhttp is a library of its own, whoever links the archive links it, too.
if(LLHTTP_FOUND)
  set(POSTERN_REQUIRES_LLHTTP ", libllhttp")
  set(POSTERN_LINKS_LLHTTP "llhttp;")
endif()
configure_package_config_file(cmake/package/posternConfig.cmake.in "${package_files}/posternConfig.cmake"
  INSTALL_DESTINATION "${package_dir}" PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file("${package_files}/posternConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${package_files}/posternConfig.cmake" "${package_files}/posternConfigVersion.cmake"
        DESTINATION "${package_dir}" COMPONENT client)

# postern_install_pkgconfig(NAME COMPONENT)
function(postern_install_pkgconfig name component)
  configure_file(cmake/package/${name}.pc.in "${package_files}/${name}.pc.in" @ONLY)
  install(CODE "
    file(READ \"${package_files}/${name}.pc.in\" content)
    string(REPLACE \"prefix=${CMAKE_INSTALL_PREFIX}\\n\" \"prefix=\${CMAKE_INSTALL_PREFIX}\\n\" content \"\${content}\")
    file(WRITE \"${package_files}/${name}.pc\" \"\${content}\")
    file(INSTALL DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig\" TYPE FILE
         FILES \"${package_files}/${name}.pc\")" COMPONENT ${component})
endfunction()
postern_install_pkgconfig(postern client)

# libpostern-kms stands on libpostern, and has a component of its own: `--component kms` beside `--component client`.
if(TARGET libpostern-kms)
  install(TARGETS libpostern-kms LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT kms)
  install(FILES "${CMAKE_BINARY_DIR}/lib/libpostern-kms.a" DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT kms)
  install(FILES include/postern/kms.h include/postern/seal.h include/postern/verify.h DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/postern" COMPONENT kms)
  postern_install_pkgconfig(postern-kms kms)
endif()
