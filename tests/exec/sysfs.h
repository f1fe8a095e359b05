// A directory that looks like a part of /sys.
#pragma once

#include <stdlib.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <string>

namespace trainyard::test {

class Sysfs {
 public:
  Sysfs() {
    char pattern[] = "/tmp/trainyard-sys-XXXXXX";
    REQUIRE(::mkdtemp(pattern) != nullptr);
    x_path = pattern;
  }
  ~Sysfs() { std::filesystem::remove_all(x_path); }
  const std::string& path() const { return x_path; }
  void file(const std::string& name, const std::string& text) const {
    const std::filesystem::path whole = x_path + "/" + name;
    std::filesystem::create_directories(whole.parent_path());
    std::ofstream(whole) << text;
  }
  void port(const std::string& adapter, int number, const std::string& state, const std::string& link_layer) const {
    const std::string directory = "class/infiniband/" + adapter + "/ports/" + std::to_string(number);
    file(directory + "/state", state + "\n");
    file(directory + "/link_layer", link_layer + "\n");
  }

 private:
  std::string x_path;
};

}  // namespace trainyard::test
