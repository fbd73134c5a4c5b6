// Package erofs writes and reads EROFS images, those of composefs above all.
package erofs
