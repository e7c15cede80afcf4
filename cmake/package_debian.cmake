# What Debian wants in a package, done to the files that are about to be packed: manual pages compressed, copyright and
# changelog where they belong. Run by cpack (CPACK_PRE_BUILD_SCRIPTS).
if(NOT CPACK_GENERATOR STREQUAL "DEB")
    return()
endif()
set(root ${CPACK_TEMPORARY_DIRECTORY}${CPACK_PACKAGING_INSTALL_PREFIX})
set(documents ${root}/share/doc/${CPACK_DEBIAN_PACKAGE_NAME})

# -n: no name and no time in it, so that the same sources make the same file
function(compress)
    execute_process(COMMAND gzip -9 -n -f ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(GLOB pages ${root}/share/man/man?/*.[13])
compress(${pages})

file(COPY_FILE ${root}/share/doc/fallow/LICENSE ${CPACK_TEMPORARY_DIRECTORY}/copyright)
file(MAKE_DIRECTORY ${documents})
file(RENAME ${CPACK_TEMPORARY_DIRECTORY}/copyright ${documents}/copyright)
file(CHMOD ${documents}/copyright PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)

string(TIMESTAMP today "%a, %d %b %Y %H:%M:%S +0000" UTC) # or SOURCE_DATE_EPOCH
file(WRITE ${documents}/changelog "fallow (${CPACK_PACKAGE_VERSION}) unstable; urgency=medium

  * Version ${CPACK_PACKAGE_VERSION}: /usr/share/doc/fallow/CHANGELOG.md tells what is new.

 -- ${CPACK_DEBIAN_PACKAGE_MAINTAINER}  ${today}
")
compress(${documents}/changelog)
