"""Line drawings become pictures: the drawing read, colours hinted at, three ways to paint."""
