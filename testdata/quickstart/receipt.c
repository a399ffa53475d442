#include "till.h"

#include <stdio.h>

static void print_amount(const char *label, long cents) {
  printf("  %-22s %5ld.%02ld\n", label, cents / 100, cents % 100);
}

void print_receipt(const struct basket *basket) {
  char label[32];
  for (int i = 0; i < basket->count; i++) {
    const struct line *line = &basket->lines[i];
    snprintf(label, sizeof label, "%2d %s", line->quantity, line->article->name);
    print_amount(label, line->article->price * line->quantity);
  }
  print_amount("discount", discount(basket));
  print_amount("to pay", subtotal(basket) - discount(basket));
  print_amount("tax in it", contained_tax(basket));
}
