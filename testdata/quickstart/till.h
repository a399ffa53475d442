/* A shop's till in a few files: what tools/quickstart links, edits and relinks.
 * Amounts are in cents. */
#ifndef TILL_H
#define TILL_H

struct article {
  const char *name;
  long price;
  int reduced_tax; /* food and books */
};

struct line {
  const struct article *article;
  int quantity;
};

enum { MAX_LINES = 16 };

struct basket {
  struct line lines[MAX_LINES];
  int count;
};

/* catalog.c: the article of that name, or a null pointer. */
const struct article *find_article(const char *name);

/* basket.c: 0, or -1 when there is no such article or no room. */
int add_to_basket(struct basket *basket, const char *name, int quantity);
long subtotal(const struct basket *basket);

/* discount.c: what the customer need not pay. */
long discount(const struct basket *basket);

/* tax.c: the tax contained in what the basket costs. */
long contained_tax(const struct basket *basket);

/* receipt.c */
void print_receipt(const struct basket *basket);

#endif
