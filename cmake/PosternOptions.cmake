# Compiler and linker flags, carried by one INTERFACE library so that nothing global is changed.
add_library(postern_options INTERFACE)

target_compile_features(postern_options INTERFACE c_std_11)
target_compile_definitions(postern_options INTERFACE _GNU_SOURCE POSTERN_VERSION="${PROJECT_VERSION}")
target_compile_options(postern_options INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings
  -Wundef -Wformat=2 -Wvla -Wcast-align -Wimplicit-fallthrough -fno-common -fno-strict-aliasing
  $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation>) # snprintf() cuts on purpose here: texts for people have a bound

# What a program does not call is not in it: the client takes few functions of the libraries that it shares with the daemon.
target_compile_options(postern_options INTERFACE -ffunction-sections -fdata-sections)
target_link_options(postern_options INTERFACE -Wl,--gc-sections)

if(POSTERN_WERROR)
  target_compile_options(postern_options INTERFACE -Werror)
endif()

set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT POSTERN_SANITIZE AND NOT CMAKE_BUILD_TYPE STREQUAL "Debug" AND NOT POSTERN_COVERAGE)
  target_compile_options(postern_options INTERFACE
    -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_compile_options(postern_options INTERFACE -fcf-protection)
  endif()
endif()
target_link_options(postern_options INTERFACE
  $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:-pie> -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed)

if(POSTERN_SANITIZE)
  target_compile_options(postern_options INTERFACE
    -fsanitize=${POSTERN_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(postern_options INTERFACE -fsanitize=${POSTERN_SANITIZE})
endif()

if(POSTERN_COVERAGE)
  target_compile_options(postern_options INTERFACE --coverage -fprofile-update=atomic -O0)
  target_link_options(postern_options INTERFACE --coverage)
endif()

# Coverage feedback for libFuzzer in every library; only the fuzz targets link its main.
if(POSTERN_LIBFUZZER)
  target_compile_options(postern_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
