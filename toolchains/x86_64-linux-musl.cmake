# musl instead of glibc, on this very machine: musl-gcc, which Debian calls musl-tools. Linked statically.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)

set(CMAKE_C_COMPILER musl-gcc)

# What belongs to glibc is not looked at. (No folder of musl's own holds packages; there is none to name.)
list(APPEND CMAKE_FIND_ROOT_PATH /usr/lib/musl)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# The kernel's headers, which musl does not bring, and nothing else of the folder where glibc's are.
set(fallow_kernel_headers ${CMAKE_BINARY_DIR}/kernel-headers)
file(MAKE_DIRECTORY ${fallow_kernel_headers})
foreach(pair linux:linux asm-generic:asm-generic x86_64-linux-gnu/asm:asm)
    string(REGEX MATCH "^(.*):(.*)$" pair ${pair})
    file(CREATE_LINK /usr/include/${CMAKE_MATCH_1} ${fallow_kernel_headers}/${CMAKE_MATCH_2} SYMBOLIC)
endforeach()
set(CMAKE_C_FLAGS_INIT "-idirafter ${fallow_kernel_headers}")

set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")
