# Choices that a seed repeats.
package Random;
use strict;
use warnings;

use Exporter 'import';
our @EXPORT = qw(pick chance between weighted shuffled);

sub pick { return $_[ int rand @_ ]; }
sub chance { return rand() < $_[0]; }
sub between { my ($from, $to) = @_; return $from + int rand($to - $from + 1); }

# weighted(weight => choice, ...)
sub weighted
{
	my @choices = @_;
	my $sum = 0;
	$sum += $choices[ 2 * $_ ] for 0 .. $#choices / 2;
	my $at = rand $sum;
	while (@choices > 2)
	{
		return $choices[1] if ($at -= $choices[0]) < 0;
		splice @choices, 0, 2;
	}
	return $choices[1];
}

sub shuffled
{
	my @list = @_;
	@list[ $_, $b ] = @list[ $b, $_ ] for map { $b = int rand($_ + 1); $_ } reverse 1 .. $#list;
	return @list;
}

1;
