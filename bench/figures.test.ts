import assert from "node:assert/strict";
import { test } from "node:test";
import { figuresOf, quantile, roundFigure } from "./figures.ts";

for (const { name, values, share, is } of [
  { name: "the only one", values: [7], share: 0.5, is: 7 },
  { name: "the middle", values: [9, 1, 5], share: 0.5, is: 5 },
  { name: "between two", values: [4, 2], share: 0.5, is: 3 },
  { name: "a quarter", values: [0, 4, 8, 12, 16], share: 0.25, is: 4 },
  { name: "the least", values: [3, 2, 10], share: 0, is: 2 },
  { name: "the most", values: [3, 2, 10], share: 1, is: 10 },
]) {
  test(`quantile() gives ${name}`, () => assert.equal(quantile(values, share), is));
}

test("quantile() refuses nothing", () => assert.throws(() => quantile([], 0.5), RangeError));

test("roundFigure() leaves out stretches in which the machine did something else", () => {
  assert.equal(roundFigure([50, 50, 51, 900, 50]), 50);
});

test("figuresOf() pairs the rounds", () => {
  // A load from the third round on slows both down: only pairs show what the target adds.
  const emptyNs = [40, 40, 60, 62, 61];
  const targetNs = [50, 51, 70, 73, 74];
  assert.deepEqual(figuresOf({ targetNs, emptyNs }), {
    netMedianNs: 11,
    netMinNs: 10,
    netLowNs: 10,
    netHighNs: 11,
    grossMedianNs: 70,
  });
});

test("figuresOf() refuses rounds without their pair", () => {
  assert.throws(() => figuresOf({ targetNs: [1, 2], emptyNs: [1] }), /2 rounds with 1/);
  assert.throws(() => figuresOf({ targetNs: [], emptyNs: [] }), RangeError);
});
