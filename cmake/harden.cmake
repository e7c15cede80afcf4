# What compilers and linkers can do against an attacker, where they can: fallow_harden(TARGET). docs/security.md tells what
# each is for; tests/package/hardening looks for it in what is packaged.
#
# Not with a sanitizer, which has its own ideas of a stack. A flag that the user gives stands: these come first only where
# he has said nothing.

include(CheckCCompilerFlag)
include(CheckCSourceCompiles)
include(CheckPIESupported)

set(fallow_hardening_compile "")
set(fallow_hardening_fortify OFF)
set(fallow_hardening_link "")
if(FALLOW_HARDEN AND NOT CMAKE_C_FLAGS MATCHES "-fsanitize" AND CMAKE_C_COMPILER_ID MATCHES "GNU|Clang"
        AND NOT CMAKE_C_COMPILER_FRONTEND_VARIANT STREQUAL "MSVC")
    if(WIN32)
        # the stack protector of MinGW would need a library of its own
        set(fallow_hardening_link LINKER:--dynamicbase LINKER:--nxcompat)
        if(CMAKE_SIZEOF_VOID_P EQUAL 8)
            list(APPEND fallow_hardening_link LINKER:--high-entropy-va)
        endif()
    else()
        # which jumps are allowed is each processor's own; a compiler may take another's flag, and only warn
        set(jumps "")
        if(CMAKE_SYSTEM_PROCESSOR MATCHES "86|AMD64")
            set(jumps -fcf-protection)
        elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
            set(jumps -mbranch-protection=standard)
        endif()
        foreach(flag -fstack-protector-strong -fstack-clash-protection ${jumps})
            string(MAKE_C_IDENTIFIER "FALLOW_HAS${flag}" has_flag)
            check_c_compiler_flag(${flag} ${has_flag})
            string(REGEX REPLACE "=.*" "" flag_name ${flag})
            if(${has_flag} AND NOT CMAKE_C_FLAGS MATCHES "${flag_name}")
                list(APPEND fallow_hardening_compile ${flag})
            endif()
        endforeach()
        check_c_source_compiles("
            #if defined(_FORTIFY_SOURCE)
            #error it is set by the compiler
            #endif
            int main(void) { return 0; }" FALLOW_FORTIFY_IS_UNSET)
        if(FALLOW_FORTIFY_IS_UNSET AND NOT CMAKE_C_FLAGS MATCHES "FORTIFY")
            set(fallow_hardening_fortify ON)
        endif()
        if(NOT APPLE)
            set(fallow_hardening_link LINKER:-z,relro LINKER:-z,now LINKER:-z,noexecstack)
        endif()
        check_pie_supported(LANGUAGES C)
    endif()
endif()

function(fallow_harden target)
    target_compile_options(${target} PRIVATE ${fallow_hardening_compile})
    if(fallow_hardening_fortify) # does nothing, and says so, in code that is not optimised
        target_compile_definitions(${target} PRIVATE $<$<CONFIG:Release,RelWithDebInfo,MinSizeRel>:_FORTIFY_SOURCE=2>)
    endif()
    target_link_options(${target} PRIVATE ${fallow_hardening_link})
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()
