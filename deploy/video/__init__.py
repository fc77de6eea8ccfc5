"""Video: a clip through the deployed network, frame by frame: scores, masks, a verdict, an overlay, a report."""
