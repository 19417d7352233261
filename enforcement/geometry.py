"""Plane geometry in image fractions: origin top-left, x to the right, y down, both in [0, 1]."""

from typing import Annotated, NamedTuple

from pydantic import Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Point(NamedTuple):
    """A place in the picture, in fractions of its width and height."""

    x: Fraction
    y: Fraction


class Box(NamedTuple):
    """An upright rectangle in fractions; left < right and top < bottom for a real thing."""

    left: Fraction
    top: Fraction
    right: Fraction
    bottom: Fraction

    @property
    def width(self) -> float:
        return max(0.0, self.right - self.left)

    @property
    def height(self) -> float:
        return max(0.0, self.bottom - self.top)

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def centre(self) -> Point:
        return Point((self.left + self.right) / 2, (self.top + self.bottom) / 2)

    @property
    def foot(self) -> Point:
        """Middle of the lower edge: where a person or a vehicle touches the ground."""
        return Point((self.left + self.right) / 2, self.bottom)

    def grown(self, factor: float) -> "Box":
        """The box with every side moved outwards by ``factor`` × its width or height, clipped."""
        dx, dy = self.width * factor, self.height * factor
        return Box(
            max(0.0, self.left - dx),
            max(0.0, self.top - dy),
            min(1.0, self.right + dx),
            min(1.0, self.bottom + dy),
        )


Polygon = tuple[Point, ...]

WHOLE_BOX = Box(0.0, 0.0, 1.0, 1.0)
WHOLE_FRAME: Polygon = (Point(0, 0), Point(1, 0), Point(1, 1), Point(0, 1))


def intersection(a: Box, b: Box) -> float:
    """Area shared by two boxes, in fractions of the picture."""
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    return max(0.0, width) * max(0.0, height)


def at_one_place(a: Box, b: Box) -> bool:
    """Whether boxes touch when grown by half their size on each side."""
    return intersection(a.grown(0.5), b.grown(0.5)) > 0


def iou(a: Box, b: Box) -> float:
    """Intersection over union, 0 to 1."""
    shared = intersection(a, b)
    union = a.area + b.area - shared
    return shared / union if union > 0 else 0.0


def covered(inner: Box, outer: Box) -> float:
    """Share of ``inner`` that ``outer`` covers, 0 to 1."""
    return intersection(inner, outer) / inner.area if inner.area > 0 else 0.0


def contains(polygon: Polygon, point: Point) -> bool:
    """Whether the point lies inside or on the edge (even-odd rule, W. R. Franklin's PNPOLY)."""
    inside = False
    previous = polygon[-1]
    for corner in polygon:
        if _on_segment(previous, corner, point):
            return True
        if (corner.y > point.y) != (previous.y > point.y):
            slope = (previous.x - corner.x) / (previous.y - corner.y)
            if point.x < corner.x + slope * (point.y - corner.y):
                inside = not inside
        previous = corner
    return inside


def _on_segment(a: Point, b: Point, p: Point) -> bool:
    cross = (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x)
    return (
        abs(cross) < 1e-12
        and min(a.x, b.x) <= p.x <= max(a.x, b.x)
        and min(a.y, b.y) <= p.y <= max(a.y, b.y)
    )
