"""What a frozen backbone sees in images, computed once, and who answers on it: heads, neighbor graphs, prototypes."""
