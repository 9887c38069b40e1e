// The sanitizers' options in every program of a build with GRAFT_SANITIZE, so that none depends on its environment.

// LLVM's headers poison the memory of arenas and unpoison what is allocated from them. Where the half that poisons is
// compiled into a program of ours, and the half that allocates into LLVM's library (without the sanitizer), memory in
// use stays poisoned.
extern "C" const char *__asan_default_options() {
  return "allow_user_poisoning=0";
}
extern "C" const char *__ubsan_default_options() {
  return "print_stacktrace=1";
}
