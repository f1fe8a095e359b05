// charliecloud, enroot, apptainer: a container is a command line under a shim of ours, in the job's own cgroup.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/containers/image.h"
#include "agent/containers/runtime.h"
#include "agent/exec/files.h"

extern char** environ;

namespace trainyard::agent {
namespace {

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

// As charliecloud's ch-image names them: "10.0.0.1:5000/team/a:1" is "10.0.0.1+5000%team%a+1". Images for all nodes'
// own use are without "localhost/".
std::string file_name(const std::string& image) {
  std::string name = image.starts_with("localhost/") ? image.substr(10) : image;
  std::replace(name.begin(), name.end(), '/', '%');
  std::replace(name.begin(), name.end(), ':', '+');
  return name;
}

std::string path_of(const RuntimeSettings& settings, const std::string& image) {
  const char* suffix = settings.kind == "enroot" ? ".sqsh" : settings.kind == "apptainer" ? ".sif" : "";
  return settings.image_directory + "/" + file_name(image) + suffix;
}

// "docker://HOST#PATH" for enroot, "docker://HOST/PATH" for apptainer.
std::string url_of(const RuntimeSettings& settings, const std::string& image) {
  if (settings.kind != "enroot") return "docker://" + image;
  const auto slash = image.find('/');
  return "docker://" + image.substr(0, slash) + "#" + image.substr(slash + 1);
}

// Its exit code and what it wrote; -1 at the deadline.
int run_command(const std::vector<std::string>& argv, DurationMs deadline_ms, std::string& output) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return -1;
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), 2);
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  writer.reset();
  if (error != 0) return 127;
  const std::int64_t end_ms = boottime_ms() + deadline_ms;
  char text[4096];
  for (;;) {
    pollfd waiting{reader.get(), POLLIN, 0};
    const std::int64_t left_ms = end_ms - boottime_ms();
    if (left_ms <= 0) ::kill(pid, SIGKILL);
    if (left_ms > 0 && ::poll(&waiting, 1, static_cast<int>(left_ms)) <= 0) continue;
    const ssize_t got = ::read(reader.get(), text, sizeof text);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    output.append(text, static_cast<std::size_t>(got));
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void make_directories(const std::string& path) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    ::mkdir(path.substr(0, slash).c_str(), 0755);
    if (slash == std::string::npos) return;
  }
}

class Wrapper : public ContainerRuntime {
 public:
  explicit Wrapper(RuntimeSettings settings) : x_settings(std::move(settings)) {}

  FoundRuntime probe() override {
    FoundRuntime found{x_settings.kind, {}, {}, {}};
    const std::string program = x_settings.kind == "charliecloud" ? "ch-run" : x_settings.kind;
    ::setenv("USER", "root", 0);  // ch-run wants to know
    std::string said;
    if (run_command({program, x_settings.kind == "enroot" ? "version" : "--version"}, 5'000, said) != 0) {
      found.why = program + " is not installed";
      return found;
    }
    said.resize(std::min(said.find('\n'), said.size()));
    found.version = said.substr(said.rfind(' ') == std::string::npos ? 0 : said.rfind(' ') + 1);
    return found;
  }

  Outcome<Image> pull(const ImageRequest& request, const Say& say) override {
    const std::string path = path_of(x_settings, request.image);
    const ContainerError missing{"FailedStartingContainer",
                                 "there is no image " + path + " on this node for " + request.image, "notFound", false};
    if (!request.user.empty()) {
      return {
          {},
          {"FailedStartingContainer",
           x_settings.kind + " would show the registry's password in its environment: only docker and podman pull with "
                             "credentials",
           "unauthorized", false}};
    }
    if (exists(path)) return {Image{{}, path}, {}};
    if (is_local(parse_image(request.image)) || x_settings.kind == "charliecloud") return {{}, missing};
    say("pulling image " + request.image);
    const std::string fresh = path + "." + std::to_string(::getpid());
    std::string said;
    const std::vector<std::string> words =
        x_settings.kind == "enroot"
            ? std::vector<std::string>{"enroot", "import", "-o", fresh, url_of(x_settings, request.image)}
            : std::vector<std::string>{"apptainer", "pull", fresh, url_of(x_settings, request.image)};
    const int code = run_command(words, x_settings.pull_limit_ms, said);
    if (code == 0 && ::rename(fresh.c_str(), path.c_str()) == 0) return {Image{{}, path}, {}};
    ::unlink(fresh.c_str());
    if (code == -1)
      return {{}, {"FailedStartingContainer", "pulling " + request.image + " took too long", "timeout", true}};
    const ImageFault fault = judge_complaint(said);
    return {{},
            {"FailedStartingContainer",
             "cannot pull image " + request.image + ": " + x_settings.kind +
                 " says: " + said.substr(said.size() - std::min<std::size_t>(said.size(), 500)),
             fault.reason, fault.infrastructure}};
  }

  // charliecloud's images are directories for all jobs: what a job writes goes to a directory of its own.
  Outcome<bool> start(const ContainerRequest& request) override {
    if (x_settings.kind != "charliecloud") return {true, {}};
    const std::string root = request.scratch + "/root";
    for (const char* part : {"/root", "/upper", "/work"}) make_directories(request.scratch + part);
    const std::string options =
        "lowerdir=" + request.image.id + ",upperdir=" + request.scratch + "/upper,workdir=" + request.scratch + "/work";
    // A repeat finds it mounted: then it is there already.
    if (!exists(root + "/bin") && ::mount("overlay", root.c_str(), "overlay", MS_NODEV, options.c_str()) != 0) {
      return {{},
              {"FailedStartingContainer", system_error("cannot mount an overlay of " + request.image.id, errno).message,
               "other", true}};
    }
    for (const Bind& bind : request.binds) {
      struct stat about {};
      if (::stat(bind.path.c_str(), &about) == 0 && S_ISDIR(about.st_mode)) {
        make_directories(root + bind.path);
      } else {
        make_directories(root + bind.path.substr(0, bind.path.rfind('/')));
        UniqueFd(::open((root + bind.path).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
      }
    }
    for (const char* file : {"/etc/passwd", "/etc/group"})
      UniqueFd(::open((root + file).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    return {true, {}};
  }

  // They end with their cgroup.
  Result<std::uint64_t> remove(const std::string&) override { return std::uint64_t{1}; }
  Result<std::uint64_t> sweep(const std::vector<std::string>&) override { return std::uint64_t{0}; }
  void trim_cache(const Say&) override {}  // images are the operator's, or were asked for by name

 private:
  const RuntimeSettings x_settings;
};

}  // namespace

std::unique_ptr<ContainerRuntime> make_wrapper(const RuntimeSettings& settings) {
  return std::make_unique<Wrapper>(settings);
}

std::vector<std::string> wrapper_command(const RuntimeSettings& settings, const ContainerRequest& request) {
  std::vector<std::string> words;
  const auto add = [&words](std::initializer_list<std::string> more) { words.insert(words.end(), more); };
  if (settings.kind == "charliecloud") {
    add({"/usr/bin/env", "USER=root", "ch-run", "--write", "--private-tmp", "--cd=/"});
    for (const Bind& bind : request.binds) add({"--bind=" + bind.path});
    add({request.scratch + "/root", "--"});
  } else if (settings.kind == "enroot") {
    std::string gpus;
    for (const std::string& uuid : request.gpu_uuids) gpus += (gpus.empty() ? "" : ",") + uuid;
    add({"/usr/bin/env", "NVIDIA_VISIBLE_DEVICES=" + (gpus.empty() ? "void" : gpus), "enroot", "start", "--root",
         "--rw"});
    for (const Bind& bind : request.binds) {
      add({"--mount", bind.path + ":" + bind.path + ":none:x-create=auto,rbind," + (bind.read_only ? "ro" : "rw")});
    }
    add({request.image.id});
  } else {
    add({"/usr/bin/env", "apptainer", "exec", "--containall", "--writable-tmpfs", "--no-home", "--pwd", "/"});
    if (!request.gpu_uuids.empty()) add({"--nv"});
    for (const Bind& bind : request.binds) add({"--bind", bind.path + ":" + bind.path + (bind.read_only ? ":ro" : "")});
    add({request.image.id});
  }
  add({request.program, "init", request.socket});
  return words;
}

}  // namespace trainyard::agent
