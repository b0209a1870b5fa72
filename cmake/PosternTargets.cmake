# postern_library(NAME SOURCES ... USES ... [FOLDER NAME] [HEADERS ...]): the library of the folder src/NAME.
#
# Headers are included as "NAME/header.h". Each library exports a directory holding one link, NAME,
# to its own folder: a folder that is not among USES is not on the include path, so an arrow that
# points up fails to build. A library of some of a folder's files names that folder, and exports those HEADERS alone.
function(postern_library name)
  cmake_parse_arguments(arg "" "FOLDER" "SOURCES;USES;HEADERS" ${ARGN})
  set(include_root "${CMAKE_BINARY_DIR}/include/${name}")
  if(arg_FOLDER)
    file(MAKE_DIRECTORY "${include_root}/${arg_FOLDER}")
    foreach(header IN LISTS arg_HEADERS)
      file(CREATE_LINK "${PROJECT_SOURCE_DIR}/src/${arg_FOLDER}/${header}"
           "${include_root}/${arg_FOLDER}/${header}" SYMBOLIC)
    endforeach()
  else()
    file(MAKE_DIRECTORY "${include_root}")
    file(CREATE_LINK "${PROJECT_SOURCE_DIR}/src/${name}" "${include_root}/${name}" SYMBOLIC)
  endif()
  add_library(postern_${name} STATIC ${arg_SOURCES})
  # The client library is made of some of these, and shows nothing but its own.
  set_target_properties(postern_${name} PROPERTIES C_VISIBILITY_PRESET hidden)
  target_include_directories(postern_${name} PUBLIC "${include_root}")
  target_link_libraries(postern_${name} PUBLIC ${arg_USES} PRIVATE postern_options)
endfunction()

# postern_keep_small(NAME...): libraries that nothing but the client uses, whose size in an enclave counts for more than their
# speed. Nor do they carry the tables by which a stack could be unwound while the program runs: nothing in it does that, and a
# debugger has its own (-g).
function(postern_keep_small)
  foreach(name IN LISTS ARGN)
    target_compile_options(postern_${name} PRIVATE "$<$<CONFIG:Release,RelWithDebInfo>:-Os;-fno-asynchronous-unwind-tables>")
  endforeach()
endfunction()

# postern_program(NAME SOURCES ... USES ...): a program in build/bin.
function(postern_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;USES" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_USES} postern_options)
endfunction()

# postern_unit_test(FOLDER MODULE [FAULTS] [USES ...] [DEFINITIONS ...]): tests/unit/FOLDER/test_MODULE.c,
# a cmocka program. It links the folder's library, and whatever USES adds. FAULTS gives it the calls that
# fail on purpose (tests/lib/fault.h).
function(postern_unit_test folder module)
  cmake_parse_arguments(arg "FAULTS" "" "USES;DEFINITIONS;LINK_OPTIONS" ${ARGN})
  set(target test_${folder}_${module})
  add_executable(${target} ${folder}/test_${module}.c)
  target_link_libraries(${target} PRIVATE postern_${folder} ${arg_USES} postern_options cmocka)
  target_compile_definitions(${target} PRIVATE ${arg_DEFINITIONS}
    TEST_DATA="${PROJECT_SOURCE_DIR}/tests/unit/${folder}")
  target_link_options(${target} PRIVATE ${arg_LINK_OPTIONS})
  if(arg_FAULTS)
    target_link_libraries(${target} PRIVATE postern_fault)
  endif()
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  add_test(NAME unit/${folder}/${module} COMMAND ${target})
  set_tests_properties(unit/${folder}/${module} PROPERTIES TIMEOUT 120)
endfunction()

# postern_fuzz_target(NAME USES ...): tests/fuzz/fuzz_NAME.c with LLVMFuzzerTestOneInput. Without
# libFuzzer it is linked to a driver that replays the corpus, so that every build runs the corpus.
function(postern_fuzz_target name)
  cmake_parse_arguments(arg "" "" "USES" ${ARGN})
  # A build of some folders only has the targets of those.
  foreach(library IN LISTS arg_USES)
    if(library MATCHES "^postern_" AND NOT TARGET ${library})
      return()
    endif()
  endforeach()
  set(target fuzz_${name})
  add_executable(${target} fuzz_${name}.c)
  target_link_libraries(${target} PRIVATE ${arg_USES} postern_options)
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/fuzz")
  if(POSTERN_LIBFUZZER)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${target} PRIVATE replay.c)
    add_test(NAME fuzz-corpus/${name}
             COMMAND ${target} "${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name}")
  endif()
endfunction()
