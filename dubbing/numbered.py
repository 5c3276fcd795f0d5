"""Faces with numbers, to choose one from: in words, and drawn into the picture in which they were found."""

import cv2
import numpy as np

from face_detection.find import several_people
from face_detection.track import Track, most_at_once
from metrics.footage import SEVERAL_PEOPLE

CHOSEN, OTHER, INK = (80, 200, 60), (40, 150, 255), (0, 0, 0)  # BGR: the face that is followed, others, their numbers
HEIGHT = 0.05  # of a number, in parts of the picture's shorter side
SMALLEST = 14.0  # pixels, of a number


def numbered_faces(picture: np.ndarray, boxes: np.ndarray, followed: int | None = None) -> np.ndarray:
    """A copy of the picture, uint8 BGR [H, W, 3], with boxes, float [N, 4 or more], in their order numbered from 0; the
    one that is followed in another colour."""
    drawn = picture.copy()
    height = max(SMALLEST, HEIGHT * min(picture.shape[:2]))
    scale, line = height / 22, max(2, round(height / 8))  # the font's digits have 22 pixels
    for number, box in enumerate(boxes):
        colour = CHOSEN if number == followed else OTHER
        x1, y1, x2, y2 = (round(float(value)) for value in box[:4])
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, line)
        (width, tall), _ = cv2.getTextSize(str(number), cv2.FONT_HERSHEY_SIMPLEX, scale, line)
        left, top = max(0, x1), max(0, y1)  # a face may reach beyond the frame
        margin = round(height / 3)
        cv2.rectangle(drawn, (left, top), (left + width + 2 * margin, top + tall + 2 * margin), colour, cv2.FILLED)
        place = left + margin, top + tall + margin
        cv2.putText(drawn, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, scale, INK, line, cv2.LINE_AA)
    return drawn


def faces_in_words(boxes: np.ndarray) -> str:
    """Number, centre and size of each box, float [N, 4 or more]."""
    return ", ".join(f"{number} at {place_of(box)}" for number, box in enumerate(boxes))


def place_of(box: np.ndarray) -> str:
    """Centre and size of a box, float [4 or more], in pixels."""
    x1, y1, x2, y2 = box[:4]
    return f"{(x1 + x2) / 2:.0f},{(y1 + y2) / 2:.0f} ({x2 - x1:.0f}x{y2 - y1:.0f})"


def followed_number(people: np.ndarray, box: np.ndarray) -> int:
    """Which of the faces, float [N, 4 or more], the box of a track is."""
    return int(np.abs(people[:, :4] - box[:4]).sum(axis=1).argmin())


def choice_in_words(detections: list[np.ndarray], track: Track, times: np.ndarray) -> str | None:
    """Who of several people is followed, and how to choose another; None where there is one person.

    times: of the frames, in seconds.
    """
    if several_people(detections) <= SEVERAL_PEOPLE or not track.found.any():
        return None
    frame, people = most_at_once(detections)
    if track.found[frame]:
        who = f"face {followed_number(people, track.boxes[frame])} of {len(people)} from the left"
    else:
        frame = int(track.found.argmax())
        who = "the face"
    return (
        f"several people: {who}, at {place_of(track.boxes[frame])} at {times[frame]:.2f} s, is followed; choose "
        f"another by --face_index (from 0) or --face_at X,Y"
    )
