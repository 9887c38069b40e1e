# Everything that leaves say through three helpers:
#
#   graft_library(NAME sources... LINK libraries...)        runtime side: no MLIR or LLVM on its include path or link line
#   graft_mlir_library(NAME sources... LINK libraries...)   compiler side: MLIR's headers (precompiled) and shared library
#   graft_test(NAME sources... LINK libraries... [MLIR])    a GoogleTest program, registered case by case with ctest
#   graft_fuzzer(NAME source LINK libraries...)             a libFuzzer target, built only with GRAFT_FUZZ=ON

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
# -fPIC everywhere, programs too: one precompiled header serves libraries and programs (graft_flags).
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

option(GRAFT_WERROR "Treat warnings as errors" OFF)
option(GRAFT_SANITIZE "Build with AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(GRAFT_FUZZ "Build the libFuzzer targets" OFF)

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE}")
endif()

find_package(MLIR REQUIRED CONFIG HINTS /usr/lib/llvm-22/lib/cmake/mlir)
find_package(LLVM REQUIRED CONFIG HINTS /usr/lib/llvm-22/lib/cmake/llvm)
if(NOT LLVM_VERSION_MAJOR EQUAL 22)
  message(FATAL_ERROR "Graft needs MLIR and LLVM 22, found ${LLVM_PACKAGE_VERSION}: run tools/setup.sh")
endif()
find_package(Threads REQUIRED)
list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
include(TableGen)
include(AddLLVM)
include(AddMLIR)
set(LLVM_LINK_LLVM_DYLIB ON)
set(MLIR_LINK_MLIR_DYLIB ON)

add_link_options(-fuse-ld=lld)

# Flags of every target of ours. Interface targets, so that no folder repeats them.
# -Wno-deprecated-declarations: std::stable_sort of libstdc++ 12 calls what it deprecates itself.
add_library(graft_flags INTERFACE)
target_include_directories(graft_flags INTERFACE "${CMAKE_SOURCE_DIR}" "${CMAKE_BINARY_DIR}")
target_compile_options(graft_flags INTERFACE -fPIC -Wall -Wextra -Wno-unused-parameter -Wno-deprecated-declarations -fvisibility-inlines-hidden $<$<BOOL:${GRAFT_WERROR}>:-Werror>)
target_link_libraries(graft_flags INTERFACE Threads::Threads)
if(GRAFT_SANITIZE)
  # vptr needs RTTI identical to that of the shared MLIR library, which is built without the sanitizer.
  target_compile_options(graft_flags INTERFACE -fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1)
  target_link_options(graft_flags INTERFACE -fsanitize=address,undefined)
  add_library(graft_sanitizer_options OBJECT "${CMAKE_SOURCE_DIR}/cmake/sanitizer_options.cpp")
  target_link_libraries(graft_flags INTERFACE $<TARGET_OBJECTS:graft_sanitizer_options>)
endif()

if(GRAFT_FUZZ)
  # Coverage feedback in the libraries too: without it the fuzzer is blind.
  target_compile_options(graft_flags INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(graft_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

add_library(graft_mlir_flags INTERFACE)
target_include_directories(graft_mlir_flags SYSTEM INTERFACE ${MLIR_INCLUDE_DIRS} ${LLVM_INCLUDE_DIRS})
target_link_libraries(graft_mlir_flags INTERFACE graft_flags MLIR LLVM)

function(graft_library NAME)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  add_library(${NAME} STATIC ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${NAME} PUBLIC graft_flags ${ARG_LINK})
endfunction()

# MLIR's headers, parsed once for all compiler-side libraries.
file(WRITE "${CMAKE_BINARY_DIR}/mlir_pch.cpp" "")
add_library(graft_mlir_pch STATIC "${CMAKE_BINARY_DIR}/mlir_pch.cpp")
target_link_libraries(graft_mlir_pch PUBLIC graft_mlir_flags)
target_precompile_headers(graft_mlir_pch PRIVATE
  <algorithm> <cmath> <cstdint> <functional> <map> <memory> <optional> <string> <unordered_map> <vector>
  <mlir/Dialect/Arith/IR/Arith.h> <mlir/Dialect/Func/IR/FuncOps.h> <mlir/Dialect/Math/IR/Math.h>
  <mlir/IR/Builders.h> <mlir/IR/BuiltinAttributes.h> <mlir/IR/BuiltinOps.h> <mlir/IR/BuiltinTypes.h>
  <mlir/IR/DialectImplementation.h> <mlir/IR/Matchers.h> <mlir/IR/OpDefinition.h> <mlir/IR/OpImplementation.h>
  <mlir/IR/PatternMatch.h> <mlir/Interfaces/InferTypeOpInterface.h> <mlir/Interfaces/SideEffectInterfaces.h>
  <mlir/Pass/Pass.h> <mlir/Transforms/GreedyPatternRewriteDriver.h>)

function(graft_mlir_library NAME)
  cmake_parse_arguments(ARG "" "" "LINK;DEPENDS" ${ARGN})
  add_library(${NAME} STATIC ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${NAME} PUBLIC graft_mlir_flags ${ARG_LINK})
  target_precompile_headers(${NAME} REUSE_FROM graft_mlir_pch)
  if(ARG_DEPENDS)
    add_dependencies(${NAME} ${ARG_DEPENDS})
  endif()
endfunction()

# graft_tablegen(TARGET file.td  -gen-op-decls:Ops.h.inc -gen-op-defs:Ops.cpp.inc ...): outputs land beside the source's path in the build tree.
function(graft_tablegen TARGET FILE)
  set(LLVM_TARGET_DEFINITIONS ${FILE})
  foreach(PAIR ${ARGN})
    string(REGEX MATCH "^(.*):(.*)$" _ "${PAIR}")
    set(OUTPUT "${CMAKE_MATCH_2}")
    string(REPLACE "+" ";" ACTION "${CMAKE_MATCH_1}")
    mlir_tablegen(${OUTPUT} ${ACTION} -I${CMAKE_SOURCE_DIR} -I${MLIR_INCLUDE_DIRS})
  endforeach()
  set(TABLEGEN_OUTPUT ${TABLEGEN_OUTPUT} PARENT_SCOPE)
  add_public_tablegen_target(${TARGET})
endfunction()

function(graft_test NAME)
  cmake_parse_arguments(ARG "MLIR" "" "LINK" ${ARGN})
  add_executable(${NAME} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${NAME} PRIVATE graft_flags ${ARG_LINK} GTest::gtest_main GTest::gmock)
  target_compile_definitions(${NAME} PRIVATE GRAFT_SOURCE_DIR="${CMAKE_SOURCE_DIR}" GRAFT_BINARY_DIR="${CMAKE_BINARY_DIR}")
  set_target_properties(${NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/test/bin")
  if(ARG_MLIR)
    target_link_libraries(${NAME} PRIVATE graft_mlir_flags)
    target_precompile_headers(${NAME} REUSE_FROM graft_mlir_pch)
  endif()
  gtest_discover_tests(${NAME} DISCOVERY_TIMEOUT 120 PROPERTIES TIMEOUT 600)
endfunction()

function(graft_fuzzer NAME SOURCE)
  if(GRAFT_FUZZ)
    cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
    add_executable(${NAME} ${SOURCE})
    target_link_libraries(${NAME} PRIVATE graft_flags ${ARG_LINK})
    target_compile_options(${NAME} PRIVATE -fsanitize=fuzzer)
    target_link_options(${NAME} PRIVATE -fsanitize=fuzzer)
    set_target_properties(${NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/test/fuzz")
  endif()
endfunction()
