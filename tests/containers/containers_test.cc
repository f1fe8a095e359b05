// Containers without an engine: images' names, credentials, what complaints mean, the cache, GPUs' names, and init.
#define CATCH_CONFIG_MAIN
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "agent/containers/cache.h"
#include "agent/containers/cdi.h"
#include "agent/containers/image.h"
#include "agent/containers/pull_progress.h"
#include "agent/containers/runtime.h"
#include "agent/exec/files.h"

using namespace trainyard;
using namespace trainyard::agent;

namespace {

struct Folder {
  std::string path = [] {
    char name[] = "/tmp/containers-test-XXXXXX";
    return std::string(::mkdtemp(name));
  }();
  ~Folder() { std::filesystem::remove_all(path); }
};

void write(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

std::string read(const std::string& path) {
  const auto text = read_whole_file(path);
  return text ? *text : std::string();
}

struct Ended {
  int code = -1;
  std::string out, err;
};

pid_t start(const std::vector<std::string>& words, const std::vector<std::string>& environment,
            const std::string& folder) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::dup2(::open("/dev/null", O_RDONLY), 0);
  ::dup2(::open((folder + "/out").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
  ::dup2(::open((folder + "/err").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
  std::vector<char*> argv, variables;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  for (const std::string& variable : environment) variables.push_back(const_cast<char*>(variable.c_str()));
  argv.push_back(nullptr);
  variables.push_back(nullptr);
  ::execve(argv[0], argv.data(), variables.data());
  ::_exit(99);
}

// A "container" whose image is this machine.
struct Container {
  Folder folder;
  std::string socket = folder.path + "/enter";
  pid_t init =
      start({CONTAINER_PROGRAM, "init", socket}, {"PATH=/usr/bin:/bin", "FROM_IMAGE=yes", "BOTH=image"}, folder.path);

  Container() {
    REQUIRE(wait_for_init(socket, 10'000, [] { return true; }));
  }
  ~Container() {
    ::kill(init, SIGKILL);
    ::waitpid(init, nullptr, 0);
  }
  pid_t begin(const std::string& script, Folder& in, const std::vector<std::string>& environment = {}) {
    return start({CONTAINER_PROGRAM, "enter", socket, "--", "/bin/bash", "-c", script}, environment, in.path);
  }
  Ended run(const std::string& script, const std::vector<std::string>& environment = {}) {
    Folder in;
    int status = 0;
    ::waitpid(begin(script, in, environment), &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read(in.path + "/out"), read(in.path + "/err")};
  }
};

}  // namespace

TEST_CASE("an image's name has a registry, a repository and a tag or digest") {
  const ImageName name = parse_image("10.0.0.1:5000/team/train:1.2");
  CHECK(name.host == "10.0.0.1:5000");
  CHECK(name.repository == "10.0.0.1:5000/team/train");
  CHECK(name.tag == "1.2");
  CHECK(parse_image("r.example:5000/a").tag == "latest");
  const ImageName pinned = parse_image("docker.io/library/ubuntu@sha256:12ab");
  CHECK(pinned.repository == "docker.io/library/ubuntu");
  CHECK(pinned.digest == "sha256:12ab");
  CHECK(pinned.tag.empty());
  CHECK(is_local(parse_image("localhost/a:1")));
  CHECK_FALSE(is_local(parse_image("localhost:5000/a:1")));
}

TEST_CASE("credentials become a header, from the job or from a file of docker's form") {
  CHECK(registry_auth("", "p", "h").empty());
  // {"password":"p?>","serveraddress":"h","username":"u"}
  CHECK(registry_auth("u", "p?>", "h") == "eyJwYXNzd29yZCI6InA_PiIsInNlcnZlcmFkZHJlc3MiOiJoIiwidXNlcm5hbWUiOiJ1In0=");
  const std::string file =
      R"({"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnc="},"r.example:5000":{"auth":"dTI6cDI="}}})";
  CHECK(registry_auth_from_file(file, "docker.io") == registry_auth("u", "p:w", "docker.io"));
  CHECK(registry_auth_from_file(file, "r.example:5000") == registry_auth("u2", "p2", "r.example:5000"));
  CHECK(registry_auth_from_file(file, "other").empty());
  CHECK(registry_auth_from_file("not JSON", "other").empty());
}

TEST_CASE("an engine's complaint is the user's or the machine's") {
  const auto reason = [](const char* text) { return judge_complaint(text).reason; };
  CHECK(reason("unauthorized: authentication required") == "unauthorized");
  CHECK(reason("Get \"https://r/v2/\": no basic auth credentials") == "unauthorized");
  CHECK(reason("manifest for r/a:1 not found: manifest unknown: manifest unknown") == "notFound");
  CHECK(reason("http: server gave HTTP response to HTTPS client") == "tls");
  CHECK(reason("x509: certificate signed by unknown authority") == "tls");
  CHECK(reason("dial tcp: lookup r.example on 10.0.0.2:53: no such host") == "dns");
  CHECK(judge_complaint("exec: \"apparmor_parser\": executable file not found in $PATH").advice.empty());
  CHECK_FALSE(judge_complaint("dial tcp: lookup r.example: no such host").infrastructure);
  CHECK(judge_complaint("write /var/lib/x: no space left on device").infrastructure);
  CHECK(judge_complaint("dial tcp 10.0.0.1:5000: connect: connection refused").infrastructure);
  CHECK(judge_complaint("net/http: request canceled (Client.Timeout exceeded while awaiting headers)").reason ==
        "timeout");
}

TEST_CASE("what an engine says while it pulls: errors count, in either form, also without a line's end") {
  std::vector<std::string> said;
  const Say say = [&](const std::string& line) { said.push_back(line); };
  PullProgress docker(say, "r/a:1");
  docker.feed(
      "{\"status\":\"Downloading\",\"id\":\"1\",\"progressDetail\":{\"current\":5,\"total\":9}}\n{\"errorDetail\":{"
      "\"message\":\"x\"},");
  docker.feed("\"error\":\"manifest unknown\"}\r\n");
  CHECK(docker.error() == "manifest unknown");
  PullProgress podman(say, "r/a:1");
  podman.feed("{\"message\":\"unauthorized\"}");
  CHECK(podman.error() == "unauthorized");
  PullProgress fine(say, "r/a:1");
  fine.feed("{\"status\":\"Download complete\",\"progressDetail\":{},\"id\":\"1\"}\n");
  CHECK(fine.error().empty());
  CHECK(said.at(0) == "pulling image r/a:1");
}

TEST_CASE("the longest unused images go first, and never one that was used lately") {
  const std::vector<CachedImage> images{{"sha256:a", 1, 50}, {"sha256:b", 2, 30}, {"sha256:c", 3, 40}};
  const auto removed = [&](std::uint64_t limit, std::int64_t recent, const std::string& in_use = {}) {
    std::vector<std::string> ids;
    trim_images(images, limit, recent, [&](const std::string& id) {
      if (id != in_use) ids.push_back(id);
      return id != in_use;
    });
    return ids;
  };
  CHECK(removed(200, 9).empty());
  CHECK(removed(119, 9) == std::vector<std::string>{"sha256:a"});
  CHECK(removed(69, 9) == std::vector<std::string>{"sha256:a", "sha256:b"});
  CHECK(removed(1, 2) == std::vector<std::string>{"sha256:a"});
  CHECK(removed(119, 9, "sha256:a") == std::vector<std::string>{"sha256:b"});  // in its place
  Folder folder;
  const std::string record = folder.path + "/pulled";
  record_use(record, "sha256:a");
  record_use(record, "sha256:b");
  const timespec old[2] = {{100, 0}, {100, 0}};
  REQUIRE(::utimensat(AT_FDCWD, (record + "/b").c_str(), old, 0) == 0);
  REQUIRE(recorded_images(record).size() == 2);
  CHECK(recorded_images(record).front().id == "sha256:b");
  record_use(record, "sha256:b");
  CHECK(recorded_images(record).back().last_used > 100);
  forget_image(record, "sha256:a");
  CHECK(recorded_images(record).size() == 1);
}

TEST_CASE("GPUs are named as CDI's files name them; one that no file describes is refused with what to do") {
  Folder folder;
  write(folder.path + "/nvidia.yaml",
        "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: GPU-1\n- name: GPU-2\n");
  write(folder.path + "/other.json", R"({"kind": "example.com/x", "devices": [{"name": "GPU-3"}]})");
  CHECK(cdi_devices({"GPU-2"}, {folder.path}).value() == std::vector<std::string>{"nvidia.com/gpu=GPU-2"});
  CHECK(cdi_devices({}, {"/nowhere"}).value().empty());
  const auto missing = cdi_devices({"GPU-1", "GPU-3"}, {folder.path});
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.error().message.find("nvidia.com/gpu=GPU-3: run `nvidia-ctk cdi generate") != std::string::npos);
}

TEST_CASE("wrappers get the image, the binds and init as words of a command line") {
  ContainerRequest request;
  request.image.id = "/images/a+1";
  request.binds = {{"/work/j", false}, {"/usr/bin/rsh", true}};
  request.gpu_uuids = {"GPU-1"};
  request.scratch = "/work/j/container";
  request.program = "/p";
  request.socket = "/run/s";
  const auto line = [&](const char* kind) {
    std::string text;
    for (const std::string& word : wrapper_command({.kind = kind}, request)) text += word + " ";
    return text;
  };
  CHECK(line("charliecloud") ==
        "/usr/bin/env USER=root ch-run --write --private-tmp --cd=/ --bind=/work/j --bind=/usr/bin/rsh "
        "/work/j/container/root -- /p "
        "init /run/s ");
  CHECK(line("enroot") ==
        "/usr/bin/env NVIDIA_VISIBLE_DEVICES=GPU-1 enroot start --root --rw --mount "
        "/work/j:/work/j:none:x-create=auto,rbind,rw "
        "--mount /usr/bin/rsh:/usr/bin/rsh:none:x-create=auto,rbind,ro /images/a+1 /p init /run/s ");
  CHECK(
      line("apptainer") ==
      "/usr/bin/env apptainer exec --containall --writable-tmpfs --no-home --pwd / --nv --bind /work/j:/work/j --bind "
      "/usr/bin/rsh:/usr/bin/rsh:ro /images/a+1 /p init /run/s ");
}

TEST_CASE(
    "a process that enters has its own streams, directory and variables over the image's, and its exit code comes "
    "back") {
  Container container;
  const Ended plain =
      container.run("echo $FROM_IMAGE $BOTH $MINE; echo complaint >&2; exit 7", {"BOTH=job", "MINE=a b"});
  CHECK(plain.code == 7);
  CHECK(plain.out == "yes job a b\n");
  CHECK(plain.err == "complaint\n");
  CHECK(container.run("kill -9 $$").code == 137);
  CHECK(container.run("(setsid sleep 100 &) ; echo left").out == "left\n");
  const Ended odd = container.run("printf %s \"$ODD\"", {"ODD=\xff\xfe not UTF-8"});
  CHECK(odd.out == "\xff\xfe not UTF-8");
  CHECK(container.run(std::string(100'000, ' ') + "echo long").out == "long\n");
}

TEST_CASE("what cannot be started, and a container that is not there, say so") {
  Container container;
  Folder in;
  int status = 0;
  ::waitpid(start({CONTAINER_PROGRAM, "enter", container.socket, "--", "/no/such/program"}, {}, in.path), &status, 0);
  CHECK(WEXITSTATUS(status) == 127);
  CHECK(read(in.path + "/err") ==
        "trainyard: cannot run /no/such/program in the container: No such file or directory\n");
  ::waitpid(start({CONTAINER_PROGRAM, "enter", in.path + "/none", "--", "/bin/true"}, {}, in.path), &status, 0);
  CHECK(WEXITSTATUS(status) == 137);
  CHECK(read(in.path + "/err").starts_with("trainyard: the job's container does not run: "));
}

TEST_CASE("who enters and is killed takes the whole session along") {
  Container container;
  Folder in;
  const std::string mark = in.path + "/mark";
  const pid_t entered =
      container.begin("sleep 1000 & echo $! > " + mark + ".new; mv " + mark + ".new " + mark + "; wait", in);
  while (!std::filesystem::exists(mark)) ::usleep(2'000);
  const pid_t inside = static_cast<pid_t>(std::strtol(read(mark).c_str(), nullptr, 10));
  REQUIRE(::kill(inside, 0) == 0);
  ::kill(entered, SIGKILL);
  ::waitpid(entered, nullptr, 0);
  for (int i = 0; i < 2'000 && process_start_time(inside) != 0 && ::kill(inside, 0) == 0; ++i) ::usleep(2'000);
  CHECK(::kill(inside, 0) != 0);
}

TEST_CASE("SIGTERM to all leaves the job its grace: init and those who entered wait for its processes") {
  Container container;
  Folder in;
  const std::string up = in.path + "/up";
  const pid_t entered =
      container.begin("trap 'sleep 0.2; echo saved; exit 3' TERM; touch " + up + "; while :; do sleep 0.01; done", in);
  while (!std::filesystem::exists(up)) ::usleep(2'000);
  ::kill(entered, SIGTERM);
  ::kill(container.init, SIGTERM);
  // As the agent does it: every process of the job's cgroup. Here, the program is the only child of its keeper.
  for (const auto& process : std::filesystem::directory_iterator("/proc")) {
    const std::string line = read(process.path().string() + "/cmdline");
    if (line.find(up) != std::string::npos && line.starts_with("/bin/bash")) {
      ::kill(static_cast<pid_t>(std::strtol(process.path().filename().c_str(), nullptr, 10)), SIGTERM);
    }
  }
  int status = 0;
  ::waitpid(entered, &status, 0);
  CHECK(WEXITSTATUS(status) == 3);
  CHECK(read(in.path + "/out") == "saved\n");
  ::waitpid(container.init, &status, 0);
  CHECK(WEXITSTATUS(status) == 143);
}
