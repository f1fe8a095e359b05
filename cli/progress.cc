#include "cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace trainyard::cli {
namespace {

constexpr const char* kErase = "\r\x1b[K";

// For the signal handler, which may run on any thread: nothing here is allocated.
std::atomic<bool> g_line_shown{false};
std::atomic<const char*> g_note{nullptr};

bool g_showing = false;  // there is a ProgressLine

void write_text(const char* text) {
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text, std::strlen(text));
}

void interrupted(int signal) {
  if (g_line_shown) write_text(kErase);
  if (const char* note = g_note; note != nullptr) {
    write_text("trainyard: interrupted; ");
    write_text(note);
    write_text("\n");
  }
  std::signal(signal, SIG_DFL);
  ::kill(::getpid(), signal);
}

std::size_t terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 80;
  return size.ws_col;
}

// Never longer than the line, or it could not be erased; nothing that moves the cursor.
std::string fitting(const std::string& text, const std::string& end) {
  std::string out;
  for (const char c : text) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  const std::size_t room = terminal_width() - std::min(terminal_width() - 4, end.size() + 1);
  if (out.size() > room) {
    std::size_t keep = room - 3;
    while (keep > 0 && (static_cast<unsigned char>(out[keep]) & 0xC0) == 0x80) --keep;
    out = out.substr(0, keep) + "...";
  }
  return out + end;
}

}  // namespace

ProgressLine::ProgressLine(std::string text, bool wanted) : x_text(std::move(text)) {
  if (!wanted || g_showing || ::isatty(STDERR_FILENO) == 0) return;
  g_showing = true;
  x_thread = std::thread([this] { run(); });
}

ProgressLine::~ProgressLine() {
  if (!x_thread.joinable()) return;
  {
    const std::lock_guard lock(x_mutex);
    x_done = true;
  }
  x_changed.notify_all();
  x_thread.join();
  hide_progress();
  g_showing = false;
}

void ProgressLine::say(std::string text) {
  const std::lock_guard lock(x_mutex);
  x_text = std::move(text);
}

void ProgressLine::remark(const std::string& sentence) {
  const std::lock_guard lock(x_mutex);
  hide_progress();
  fmt::print(stderr, "{}\n", sentence);
}

void hide_progress() {
  if (g_line_shown.exchange(false)) write_text(kErase);
}

void ProgressLine::run() {
  using Clock = std::chrono::steady_clock;
  const auto started = Clock::now();
  std::unique_lock lock(x_mutex);
  for (int seconds = 1; !x_done; ++seconds) {
    if (x_changed.wait_until(lock, started + std::chrono::seconds(seconds), [this] { return x_done; })) break;
    g_line_shown = true;
    write_text((kErase + fitting(x_text, fmt::format(" ({} s)", seconds))).c_str());
  }
}

std::string spoken_size(unsigned long long bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double size = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (size >= 1000 && unit + 1 < std::size(kUnits)) {
    size /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", size, kUnits[unit]);
}

void catch_interrupts() {
  struct sigaction action {};
  // In the background of a script it is ignored, and stays so.
  if (::sigaction(SIGINT, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) return;
  action.sa_handler = interrupted;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
}

void set_interrupt_note(const char* note) {
  g_note = note;
}

}  // namespace trainyard::cli
