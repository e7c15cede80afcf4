# Builds the tree that it lies in: conan create packaging/conan
import os
import re

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load, rmdir

required_conan_version = ">=2.0"


class FallowConan(ConanFile):
    name = "fallow"
    description = "Much address space, little memory: reserve, commit and hand out pages"
    license = "MIT"
    topics = ("memory", "allocator", "virtual-memory")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "tools": [True, False]}
    default_options = {"shared": False, "tools": False}

    def _tree(self):
        return os.path.join(self.recipe_folder, os.pardir, os.pardir)

    def set_version(self):
        header = load(self, os.path.join(self._tree(), "include", "fallow.h"))
        self.version = re.search(r'#define FALLOW_VERSION "(.*)"', header).group(1)

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "README.md", "CHANGELOG.md", "cmake/*", "include/*", "src/*",
                        "tools/*", "bench/*", "docs/*", "script/*"):
            copy(self, pattern, self._tree(), self.export_sources_folder)

    def validate(self):
        if self.settings.os not in ("Linux", "Windows"):
            raise ConanInvalidConfiguration("fallow is for Linux and Windows")

    def configure(self):
        # It is C alone.
        self.settings.rm_safe("compiler.cppstd")
        self.settings.rm_safe("compiler.libcxx")

    def layout(self):
        cmake_layout(self)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["BUILD_TESTING"] = False
        toolchain.cache_variables["FALLOW_BUILD_TOOLS"] = bool(self.options.tools)
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        for directory in ("lib/cmake", "lib/pkgconfig", "share"):
            rmdir(self, os.path.join(self.package_folder, directory))
        if self.options.shared:
            for name in ("libfallow.a", "fallow_static.lib"):
                static = os.path.join(self.package_folder, "lib", name)
                if os.path.exists(static):
                    os.remove(static)

    def package_info(self):
        self.cpp_info.set_property("cmake_file_name", "fallow")
        self.cpp_info.set_property("cmake_target_name", "fallow::fallow")
        self.cpp_info.set_property("pkg_config_name", "fallow")
        self.cpp_info.libs = ["fallow"]
        if self.settings.os == "Linux" and not self.options.shared:
            self.cpp_info.system_libs = ["pthread"]
