#include "till.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  struct basket basket = {.count = 0};
  for (int i = 1; i + 1 < argc; i += 2) {
    if (add_to_basket(&basket, argv[i + 1], atoi(argv[i])) != 0) {
      fprintf(stderr, "till: no %s today\n", argv[i + 1]);
      return 1;
    }
  }
  print_receipt(&basket);
  return 0;
}
