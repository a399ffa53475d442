#include "till.h"

/* Bulk buyers pay less for each line of five pieces or more. */
static long bulk_discount(const struct line *line) {
  long price = line->article->price * line->quantity;
  return line->quantity >= 5 ? price / 20 : 0;
}

/* The reduction on the whole basket, in percent: the edit changes this. */
static int percent_off(long sum) {
  if (sum < 5000) return 0;
  return 10;
}

long discount(const struct basket *basket) {
  long sum = subtotal(basket);
  long off = sum * percent_off(sum) / 100;
  for (int i = 0; i < basket->count; i++) off += bulk_discount(&basket->lines[i]);
  return off;
}
