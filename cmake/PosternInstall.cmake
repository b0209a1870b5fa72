# What `cmake --install` puts where: programs, units, man pages, configuration.
set(POSTERN_CONFIG_DIR "/etc" CACHE PATH "Where postern/ and nitro_enclaves/ with their configuration go")

# AWS's tools by their own names: posternd, and postern, look at the name they were called by.
if(TARGET posternd AND NOT TARGET vsock-proxy)
  add_custom_target(vsock-proxy ALL
    COMMAND ${CMAKE_COMMAND} -E create_symlink posternd "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/vsock-proxy"
    BYPRODUCTS "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/vsock-proxy")
endif()
if(TARGET postern AND TARGET postern_kms)
  add_custom_target(kmstool_enclave_cli ALL
    COMMAND ${CMAKE_COMMAND} -E create_symlink postern "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/kmstool_enclave_cli"
    BYPRODUCTS "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/kmstool_enclave_cli")
  install(FILES "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/kmstool_enclave_cli" DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
foreach(program posternd posternctl postern)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
  endif()
endforeach()
if(TARGET posternd)
  install(FILES "${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/vsock-proxy" DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()

# postern_install_script(DESTINATION TYPE FILES...): files that name the programs by /usr/bin and /usr/libexec. The
# prefix is written into them as they are installed, since only then it is known.
function(postern_install_script destination type)
  install(CODE "
    foreach(file IN ITEMS ${ARGN})
      get_filename_component(name \"\${file}\" NAME)
      file(READ \"\${file}\" content)
      string(REPLACE \"/usr/bin/p\" \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}/p\" content \"\${content}\")
      string(REPLACE \"/usr/bin/vsock\" \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}/vsock\" content \"\${content}\")
      string(REPLACE \"/usr/libexec/\" \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBEXECDIR}/\" content \"\${content}\")
      file(WRITE \"${CMAKE_BINARY_DIR}/install/\${name}\" \"\${content}\")
      file(INSTALL DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${destination}\" TYPE ${type}
           FILES \"${CMAKE_BINARY_DIR}/install/\${name}\")
    endforeach()")
endfunction()

file(GLOB units CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/systemd/*.service")
postern_install_script(lib/systemd/system FILE ${units})
if(EXISTS "${PROJECT_SOURCE_DIR}/systemd/vsock-proxy-kms")
  postern_install_script("${CMAKE_INSTALL_LIBEXECDIR}/postern" PROGRAM "${PROJECT_SOURCE_DIR}/systemd/vsock-proxy-kms")
endif()
install(FILES systemd/postern.sysusers DESTINATION lib/sysusers.d RENAME postern.conf)
install(FILES systemd/postern.tmpfiles DESTINATION lib/tmpfiles.d RENAME postern.conf)
install(DIRECTORY systemd/examples/ DESTINATION "${CMAKE_INSTALL_DOCDIR}/examples")

foreach(section 1 5 8)
  file(GLOB pages CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/docs/man/*.${section}")
  if(pages)
    install(FILES ${pages} DESTINATION "${CMAKE_INSTALL_MANDIR}/man${section}")
  endif()
endforeach()

# postern_install_config(FILE FOLDER): an operator's configuration is never overwritten.
function(postern_install_config file folder)
  if(NOT EXISTS "${PROJECT_SOURCE_DIR}/${file}")
    return()
  endif()
  get_filename_component(name "${file}" NAME)
  install(CODE "
    if(NOT EXISTS \"\$ENV{DESTDIR}${POSTERN_CONFIG_DIR}/${folder}/${name}\")
      file(INSTALL DESTINATION \"${POSTERN_CONFIG_DIR}/${folder}\" TYPE FILE FILES \"${PROJECT_SOURCE_DIR}/${file}\")
    endif()")
endfunction()
# A fresh installation opens nothing that nobody asked for; the file with every key has examples that would.
postern_install_config(conf/fresh/postern.yaml postern)
postern_install_config(conf/vsock-proxy.yaml nitro_enclaves)
install(FILES conf/postern.yaml conf/vsock-proxy.yaml conf/prometheus-alerts.yaml DESTINATION "${CMAKE_INSTALL_DOCDIR}/examples")
# The README and many a message point into docs/.
install(FILES README.md CHANGELOG.md LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}" OPTIONAL)
file(GLOB pages CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/docs/*.md")
if(pages)
  install(FILES ${pages} DESTINATION "${CMAKE_INSTALL_DOCDIR}/docs")
endif()
