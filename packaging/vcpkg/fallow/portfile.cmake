# An overlay port, which builds the tree that it lies in: vcpkg install fallow --overlay-ports=packaging/vcpkg
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

vcpkg_check_features(OUT_FEATURE_OPTIONS feature_options
    FEATURES tools FALLOW_BUILD_TOOLS)
vcpkg_cmake_configure(
    SOURCE_PATH "${SOURCE_PATH}"
    OPTIONS
        ${feature_options}
        -DBUILD_TESTING=OFF)
vcpkg_cmake_install()
vcpkg_copy_pdbs()
vcpkg_cmake_config_fixup(CONFIG_PATH lib/cmake/fallow)
vcpkg_fixup_pkgconfig()
if("tools" IN_LIST FEATURES)
    vcpkg_copy_tools(TOOL_NAMES fallow AUTO_CLEAN)
endif()

# vcpkg has the static or the shared library, as the triplet says, and nothing twice.
if(VCPKG_LIBRARY_LINKAGE STREQUAL "dynamic")
    file(REMOVE
        "${CURRENT_PACKAGES_DIR}/lib/libfallow.a" "${CURRENT_PACKAGES_DIR}/debug/lib/libfallow.a"
        "${CURRENT_PACKAGES_DIR}/lib/fallow_static.lib" "${CURRENT_PACKAGES_DIR}/debug/lib/fallow_static.lib")
    file(GLOB static_targets "${CURRENT_PACKAGES_DIR}/share/fallow/fallow-static-targets*.cmake")
    file(REMOVE ${static_targets})
endif()
file(REMOVE_RECURSE
    "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share" "${CURRENT_PACKAGES_DIR}/share/doc"
    "${CURRENT_PACKAGES_DIR}/share/man")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
