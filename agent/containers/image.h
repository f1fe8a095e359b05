// Names of images, credentials for registries, and what an engine's complaint means. Pure.
#pragma once

#include <string>

namespace trainyard::agent {

// "HOST[:PORT]/path[:tag][@digest]", always with its host: the controller completes what users write.
struct ImageName {
  std::string host;        // "docker.io", "10.0.0.1:5000", "localhost"
  std::string repository;  // "HOST/path", without tag or digest
  std::string tag;         // "latest" where none is given; empty beside a digest
  std::string digest;      // "sha256:...", or empty
};
ImageName parse_image(const std::string& image);

// "localhost/..." is an image that an operator put into the node's own store; no registry is asked for it, and its id
// stands for its digest.
bool is_local(const ImageName& image);

// The header by which both engines take a registry's credentials; empty without a user.
std::string registry_auth(const std::string& user, const std::string& password, const std::string& host);
// The same from a file of docker's form (~/.docker/config.json), for that host; empty: it has none, or cannot be read.
std::string registry_auth_from_file(const std::string& text, const std::string& host);

// What went wrong with an image, by the words of docker's and podman's libraries.
struct ImageFault {
  std::string reason;           // unauthorized | notFound | tls | dns | timeout | noSpace | unreachable | other
  std::string advice;           // what to do about it; empty: the message says enough
  bool infrastructure = false;  // the machines' fault: it may work elsewhere, or later
};
ImageFault judge_complaint(const std::string& message);

}  // namespace trainyard::agent
