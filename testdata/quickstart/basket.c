#include "till.h"

int add_to_basket(struct basket *basket, const char *name, int quantity) {
  const struct article *article = find_article(name);
  if (!article || basket->count == MAX_LINES) return -1;
  basket->lines[basket->count].article = article;
  basket->lines[basket->count].quantity = quantity;
  basket->count++;
  return 0;
}

long subtotal(const struct basket *basket) {
  long sum = 0;
  for (int i = 0; i < basket->count; i++)
    sum += basket->lines[i].article->price * basket->lines[i].quantity;
  return sum;
}
