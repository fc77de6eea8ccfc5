// The vendor's side of xmodel_file.py: libxir reads argv[1] and writes argv[2]; seconds and peak memory as JSON.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <xir/graph/graph.hpp>

static double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// VmHWM: unlike getrusage's, it begins anew with this program and not with the one that started it.
static long peak() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    long kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib * 1024;
  }
  return 0;
}

int main(int, char** argv) {
  const long before = peak();
  const double start = seconds();
  auto graph = xir::Graph::deserialize(argv[1]);
  const double middle = seconds();
  const long after_read = peak();
  graph->serialize(argv[2]);
  std::printf("{\"ops\": %d, \"read\": %f, \"write\": %f, \"before\": %ld, \"after_read\": %ld, \"peak\": %ld}\n",
              static_cast<int>(graph->get_op_num()), middle - start, seconds() - middle, before, after_read, peak());
}
