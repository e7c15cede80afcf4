# 32-bit x86 Linux. Linked statically: an x86-64 kernel runs the programs, and no 32-bit C library has to be installed.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR i686)

set(CMAKE_C_COMPILER i686-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER i686-linux-gnu-g++)

list(APPEND CMAKE_FIND_ROOT_PATH /usr/i686-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")

if(NOT CMAKE_HOST_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|i[3-6]86)$")
    find_program(FALLOW_QEMU_I386 NAMES qemu-i386-static qemu-i386)
    if(FALLOW_QEMU_I386)
        set(CMAKE_CROSSCOMPILING_EMULATOR "${FALLOW_QEMU_I386}")
    endif()
endif()
