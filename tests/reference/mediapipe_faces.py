"""MediaPipe's own faces, as JSON: run by a Python that has MediaPipe, never imported.

    python mediapipe_faces.py MODEL_SELECTION MIN_SCORE FOLDER

writes {picture: [{"score", "box": [x1, y1, x2, y2], "keypoints": [[x, y], ...]}]} for every PNG
in FOLDER, in pixels and unclipped. MODEL_SELECTION is 0 (short range) or 1 (full range).
"""

import json
import sys
from pathlib import Path

import cv2
from mediapipe.python.solutions.face_detection import FaceDetection


def _face(detection, size_wh):
    width, height = size_wh
    place = detection.location_data
    box = place.relative_bounding_box
    x1, y1 = box.xmin * width, box.ymin * height
    return {
        "score": detection.score[0],
        "box": [x1, y1, x1 + box.width * width, y1 + box.height * height],
        "keypoints": [[p.x * width, p.y * height] for p in place.relative_keypoints],
    }


def _main():
    model_selection, min_score, folder = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    faces = {}
    with FaceDetection(min_score, model_selection) as detector:
        for path in sorted(folder.glob("*.png")):
            image = cv2.imread(str(path))
            found = detector.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).detections or ()
            faces[path.name] = [_face(one, image.shape[1::-1]) for one in found]
    json.dump(faces, sys.stdout)


if __name__ == "__main__":
    _main()
