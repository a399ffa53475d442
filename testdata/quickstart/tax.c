#include "till.h"

static const int full_rate = 20;
static const int reduced_rate = 5;

static long contained(long gross, int rate) { return gross * rate / (100 + rate); }

long contained_tax(const struct basket *basket) {
  long sum = subtotal(basket);
  long paid = sum - discount(basket);
  long tax = 0;
  if (sum == 0) return 0;
  for (int i = 0; i < basket->count; i++) {
    const struct line *line = &basket->lines[i];
    long share = line->article->price * line->quantity * paid / sum;
    tax += contained(share, line->article->reduced_tax ? reduced_rate : full_rate);
  }
  return tax;
}
