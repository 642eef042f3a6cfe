"""Deposits on returnable crates and bottles of a small brewery, in cents."""


class Ledger:
    """What each customer has out; `deposits` maps an article to its deposit."""

    def __init__(self, deposits, crate_of=None):
        self.deposits = deposits
        self.crate_of = crate_of or {}
        """Article of a crate -> (bottle, number of bottles in it)."""
        self.out = {}

    def deliver(self, customer, article, count=1):
        """Hand out articles; a crate counts as the empty crate and its bottles. Returns the deposit due."""
        mine = self.out.setdefault(customer, {})
        mine[article] = mine.get(article, 0) + count
        due = self.deposits[article] * count
        if article in self.crate_of:
            bottle, number = self.crate_of[article]
            due += self.deliver(customer, bottle, number * count)
        return due

    def bring_back(self, customer, article, count=1):
        """Deposit paid back: in full for what the customer has out, a fifth less for any beyond that."""
        mine = self.out.setdefault(customer, {})
        known = min(count, mine.get(article, 0))
        mine[article] = mine.get(article, 0) - known
        if mine[article] == 0:
            del mine[article]
        deposit = self.deposits[article]
        return known * deposit + (count - known) * (deposit - deposit // 5)

    def owed(self, customer):
        """Value of all that the customer still has out."""
        return sum(self.deposits[a] * n for a, n in self.out.get(customer, {}).items())

    def reminders(self, limit):
        """Customers who have more than `limit` cents out, the largest debt first."""
        debts = {customer: self.owed(customer) for customer in self.out}
        late = [c for c, debt in debts.items() if debt > limit]
        return sorted(late, key=lambda c: (-debts[c], c))
