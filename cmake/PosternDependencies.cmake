# Everything the project is built on, by the names Debian 12 gives it.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(ZLIB REQUIRED)

pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv>=1.44)
pkg_check_modules(CBOR REQUIRED IMPORTED_TARGET libcbor>=0.8)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(CARES REQUIRED IMPORTED_TARGET libcares>=1.18)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(SMARTCOLS REQUIRED IMPORTED_TARGET smartcols)
# 3.35: UPDATE ... RETURNING.
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3>=3.35)
pkg_check_modules(SYSTEMD IMPORTED_TARGET libsystemd)

# llhttp: the installed library where there is one (Fedora, newer Debian), else the C sources that
# Debian 12 ships in node-llhttp.
pkg_check_modules(LLHTTP QUIET IMPORTED_TARGET libllhttp)
if(LLHTTP_FOUND)
  add_library(llhttp ALIAS PkgConfig::LLHTTP)
else()
  find_path(LLHTTP_SOURCE llhttp.c PATHS /usr/share/llhttp NO_DEFAULT_PATH)
  find_path(LLHTTP_INCLUDE llhttp.h PATHS /usr/share/include/llhttp /usr/share/llhttp NO_DEFAULT_PATH)
  if(NOT LLHTTP_SOURCE OR NOT LLHTTP_INCLUDE)
    message(FATAL_ERROR "llhttp not found: install node-llhttp (Debian) or llhttp-devel (Fedora)")
  endif()
  add_library(llhttp STATIC ${LLHTTP_SOURCE}/llhttp.c ${LLHTTP_SOURCE}/api.c ${LLHTTP_SOURCE}/http.c)
  target_include_directories(llhttp SYSTEM PUBLIC ${LLHTTP_INCLUDE})
  # Without it `Name : value` and more are let through; llhttp 9 and later know no other mode.
  target_compile_definitions(llhttp PUBLIC LLHTTP_STRICT_MODE=1)
  # It becomes a part of libpostern, which shows nothing but its own.
  set_target_properties(llhttp PROPERTIES C_VISIBILITY_PRESET hidden)
  target_compile_options(llhttp PRIVATE -ffunction-sections -fdata-sections)
endif()
